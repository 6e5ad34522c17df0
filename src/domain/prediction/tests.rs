//! The regression and its interval on students that are made up, so that the truth is known.

use super::{
    Calibration, FEATURES, FLOOR, Features,
    fit::{Cell, LEVEL, fit},
};

/// Numbers in 0..1 (Numerical Recipes' linear congruence): the same at every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normal, with variance 1: the sum of twelve.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

const WEIGHTS: Features = [0.7, 0.0, 0.4, -0.3];

/// Students whose ln(loss + floor) is linear in the features, with noise.
fn cells(teachers: usize, each: usize, noise: f64, seed: u64) -> Vec<Cell> {
    let mut numbers = Numbers(seed);
    let mut made = Vec::new();
    for teacher in 0..teachers {
        for _ in 0..each {
            let features: Features = std::array::from_fn(|_| 2.0 * numbers.next() - 1.0);
            let score: f64 =
                -3.5 + features.iter().zip(WEIGHTS).map(|(x, w)| x * w).sum::<f64>() + noise * numbers.normal();
            made.push(Cell { teacher: format!("t{teacher}"), features, loss: score.exp() - FLOOR });
        }
    }
    made
}

#[test]
fn a_known_relation_is_recovered() {
    let calibration = fit(&cells(5, 60, 0.0, 1)).unwrap();
    for (term, weight) in calibration.terms.iter().zip(WEIGHTS) {
        let slope = term.weight / term.deviation;
        assert!((slope - weight).abs() < 0.02, "{} is {slope}, not {weight}", term.name);
    }
    let half: Features = [0.5; FEATURES.len()];
    let expected = (-3.5 + 0.5 * WEIGHTS.iter().sum::<f64>()).exp() - FLOOR;
    let found = calibration.predict(&half).unwrap();
    assert!((found.loss - expected).abs() < 0.001, "{found:?}, not {expected}");
    assert_eq!((found.cells, found.teachers.len(), found.level), (300, 5, LEVEL));
}

#[test]
fn the_interval_holds_as_many_as_it_says_and_no_more() {
    // 90 % of new students, give or take three standard errors of 2000 and of the quantile of 200.
    let calibration = fit(&cells(5, 40, 0.3, 2)).unwrap();
    let fresh = cells(1, 2000, 0.3, 77);
    let inside = |cell: &&Cell| {
        let (_, low, high) = calibration.interval(&cell.features);
        (low..=high).contains(&cell.loss)
    };
    let share = fresh.iter().filter(inside).count() as f64 / 2000.0;
    assert!((0.83..0.97).contains(&share), "{share}");
    let (covered, all) = calibration.left_out.iter().fold((0, 0), |sum, one| (sum.0 + one.covered, sum.1 + one.cells));
    assert!((0.83..0.97).contains(&(covered as f64 / all as f64)), "{covered} of {all}");
    // The noise is normal with deviation 0.3: 90 % lie within 1.645 of these.
    assert!((calibration.half_width / 0.3 - 1.645).abs() < 0.35, "{}", calibration.half_width);
}

#[test]
fn a_teacher_of_another_kind_shows_where_it_is_left_out() {
    let mut all = cells(4, 40, 0.1, 3);
    all.iter_mut().filter(|cell| cell.teacher == "t3").for_each(|cell| cell.loss = 3.0 * (cell.loss + FLOOR) - FLOOR);
    let calibration = fit(&all).unwrap();
    let odd = calibration.left_out.iter().find(|one| one.teacher == "t3").unwrap();
    assert!(odd.covered < 10, "the other teachers know nothing of it: {odd:?}");
    let without = fit(&cells(3, 40, 0.1, 3)).unwrap();
    assert!(calibration.half_width > 3.0 * without.half_width, "and the interval says so");
}

#[test]
fn outside_of_what_was_seen_nothing_is_predicted() {
    let calibration = fit(&cells(3, 20, 0.1, 4)).unwrap();
    let mut features: Features = [0.0; FEATURES.len()];
    assert!(calibration.predict(&features).is_ok());
    features[2] = 1.5;
    let reason = calibration.predict(&features).unwrap_err();
    assert!(reason.contains("extrapolated") && reason.contains("parameter_ratio is 1.500"), "{reason}");
    features[2] = f64::NAN;
    assert!(calibration.predict(&features).is_err());
}

#[test]
fn the_interval_is_ordered_and_between_nothing_and_everything() {
    let calibration = fit(&cells(3, 20, 2.0, 5)).unwrap();
    for cell in cells(3, 20, 2.0, 6) {
        let (loss, low, high) = calibration.interval(&cell.features);
        assert!(0.0 <= low && low <= loss && loss <= high && high <= 1.0, "{low} {loss} {high}");
    }
}

#[test]
fn too_little_is_refused_and_constant_features_are_harmless() {
    assert!(fit(&cells(2, 50, 0.1, 7)).unwrap_err().contains("2 teachers"));
    assert!(fit(&cells(4, 4, 0.1, 7)).unwrap_err().contains("16 cells"));
    let mut constant = cells(3, 20, 0.1, 8);
    constant.iter_mut().for_each(|cell| cell.features[1] = 4.0);
    let calibration = fit(&constant).unwrap();
    assert_eq!(calibration.terms[1].weight, 0.0);
    assert!(calibration.half_width.is_finite());
}

#[test]
fn the_shipped_calibration_is_none_or_fits_this_program() {
    let shipped: Option<Calibration> = serde_json::from_str(include_str!("calibration.json")).unwrap();
    if let Some(calibration) = shipped {
        let names: Vec<&str> = calibration.terms.iter().map(|term| term.name.as_str()).collect();
        assert_eq!(names, FEATURES);
        assert!(calibration.terms.iter().all(|term| term.deviation > 0.0 && term.least <= term.greatest));
    }
}

//! Generated inputs: the index, the pictures, the data set.

use std::io::Cursor;

use kegd::{
    domain::{
        artifact::Role,
        ids::JobId,
        problem::{ErrorCode, Problem},
        task::TaskKind,
    },
    queue::{Claim, Ending, Product},
    store::SampleRow,
};
use ndarray::{Array1, Array2, Array4};
use ndarray_npy::{NpzReader, NpzWriter};
use serde_json::json;

use crate::{common::house::name, service::Service};

/// `count` one-pixel images of each of ten classes, all with that grey value.
fn samples(count: usize, grey: f32, with_logits: bool) -> Vec<u8> {
    let mut writer = NpzWriter::new(Cursor::new(Vec::new()));
    let labels: Vec<i64> = (0..10).flat_map(|class| vec![class; count]).collect();
    writer.add_array("x", &Array4::from_elem((labels.len(), 1, 2, 2), grey)).unwrap();
    writer.add_array("y", &Array1::from(labels.clone())).unwrap();
    if with_logits {
        writer.add_array("teacher_logits", &Array2::<f32>::zeros((labels.len(), 10))).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

async fn keep_samples(service: &Service, claim: &Claim, epoch: u32, grey: f32) {
    let TaskKind::Extract { generator } = claim.kind() else { panic!("{:?}", claim.kind()) };
    let file = format!("samples-{generator}-{epoch}.npz");
    let artifact = service.keep(claim, &file, Role::Samples, &samples(3, grey, false)).await;
    let row = SampleRow { artifact: name(&file), generator, epoch, count: 30 };
    let _ = service.house.queue.keep(claim, &artifact, Some(&row)).await.unwrap();
}

/// A job whose two generators have made samples: the first at epochs 1 and 2, the second at epoch 1. Normalised with
/// mean 0.5 and std 0.5.
async fn sampled(service: &Service) -> JobId {
    let config = r#"{"extraction": {"generators": 2}, "input": {"mean": [0.5], "std": [0.5]}, "classes":
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]}"#;
    let id = service.inspected_with(config).await;
    let first = service.house.claim().await.unwrap();
    let second = service.house.claim().await.unwrap();
    keep_samples(service, &first, 1, -1.0).await;
    keep_samples(service, &first, 2, 1.0).await;
    keep_samples(service, &second, 1, 0.0).await;
    for claim in [first, second] {
        service.house.queue.finish(&claim, Ending::Succeeded(Product::Extracted)).await.unwrap();
    }
    id
}

struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    async fn get(service: &Service, path: &str) -> Self {
        let answer = service.get(path).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        assert_eq!(answer.header("content-type"), "image/png");
        let mut reader = png::Decoder::new(Cursor::new(answer.body)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        Self { width: info.width as usize, height: info.height as usize, pixels }
    }

    /// The red channel in the upper left corner of a cell of 2 x 2 pixels at scale 1, with gaps of 2.
    fn cell(&self, row: usize, column: usize) -> u8 {
        self.pixels[((2 + row * 4) * self.width + 2 + column * 4) * 3]
    }
}

#[tokio::test]
async fn the_index_tells_what_there_is() {
    let service = Service::new().await;
    let id = sampled(&service).await;
    let index = service.get(&format!("/jobs/{id}/samples")).await.json();
    assert_eq!(index["generators"], json!([0, 1]));
    assert_eq!(index["epochs"], json!([1, 2]));
    assert_eq!((&index["count"], &index["classes"]), (&json!(90), &json!(10)));
    assert_eq!(index["class_names"][2], "c");
    assert_eq!(index["data"].as_array().unwrap().len(), 3);
    assert_eq!(service.get(index["links"]["png"].as_str().unwrap()).await.status, 200);
    let href = index["data"][0]["href"].as_str().unwrap();
    assert_eq!(service.get(href).await.body, samples(3, -1.0, false));
}

#[tokio::test]
async fn the_sheet_has_a_row_for_each_class_and_takes_generators_in_turns() {
    let service = Service::new().await;
    let id = sampled(&service).await;
    let sheet = Picture::get(&service, &format!("/jobs/{id}/samples.png?per_class=4&scale=1")).await;
    assert_eq!((sheet.width, sheet.height), (2 + 4 * 4, 2 + 10 * 4));
    for row in 0..10 {
        assert_eq!(
            [sheet.cell(row, 0), sheet.cell(row, 1), sheet.cell(row, 2)],
            [255, 128, 255],
            "last epochs, in turns"
        );
    }
}

#[tokio::test]
async fn a_sheet_can_be_narrowed_down() {
    let service = Service::new().await;
    let id = sampled(&service).await;
    let path = format!("/jobs/{id}/samples.png");
    let sheet = Picture::get(&service, &format!("{path}?class=c&generator=0&epoch=1&scale=1&per_class=2")).await;
    assert_eq!((sheet.width, sheet.height), (2 + 2 * 4, 2 + 4));
    assert_eq!(sheet.cell(0, 0), 0);
    let doubled = Picture::get(&service, &format!("{path}?class=2&per_class=1")).await;
    assert_eq!((doubled.width, doubled.height), (2 + 4 + 2, 2 + 4 + 2), "scale is 2 by default");
    assert_eq!(service.get(&format!("{path}?class=10")).await.problem(400), "invalid_request");
    assert_eq!(service.get(&format!("{path}?class=z")).await.problem(400), "invalid_request");
    assert_eq!(service.get(&format!("{path}?scale=0")).await.problem(400), "invalid_request");
    assert_eq!(service.get(&format!("{path}?per_class=0")).await.problem(400), "invalid_request");
    assert_eq!(service.get(&format!("{path}?scale=32&per_class=1000")).await.problem(400), "invalid_request");
    assert_eq!(service.get(&format!("{path}?generator=7")).await.problem(404), "not_found");
}

#[tokio::test]
async fn an_unchanged_sheet_is_not_drawn_again() {
    let service = Service::new().await;
    let id = sampled(&service).await;
    let path = format!("/jobs/{id}/samples.png");
    let tag = service.get(&path).await.header("etag").to_owned();
    assert_eq!(service.get_with(&path, &[("if-none-match", &tag)]).await.status, 304);
    let other = service.get_with(&format!("{path}?scale=1"), &[("if-none-match", &tag)]).await;
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn the_bank_is_a_data_set_for_other_tools() {
    let service = Service::new().await;
    let id = service.succeeded_with(&[("bank.npz", Role::Bank, &samples(2, 1.0, true))]).await;
    let path = format!("/jobs/{id}/samples.npz");
    let whole = service.get(&path).await;
    assert_eq!(whole.body, samples(2, 1.0, true));
    assert_eq!(whole.header("content-disposition"), "attachment; filename=\"lenet5-samples.npz\"");
    let sliced = service.get(&format!("{path}?n=3")).await;
    let mut reader = NpzReader::new(Cursor::new(sliced.body)).unwrap();
    let x: Array4<f32> = reader.by_name("x").unwrap();
    let y: Array1<i64> = reader.by_name("y").unwrap();
    let logits: Array2<f32> = reader.by_name("teacher_logits").unwrap();
    assert_eq!((x.shape(), y.to_vec(), logits.shape()), (&[3, 1, 2, 2][..], vec![0, 0, 1], &[3, 10][..]));
    assert_ne!(sliced.headers["etag"], whole.headers["etag"]);
}

#[tokio::test]
async fn a_job_without_generators_shows_what_its_student_learned_from() {
    let service = Service::new().await;
    let id = service.succeeded_with(&[("bank.npz", Role::Bank, &samples(2, 1.0, true))]).await;
    let sheet = Picture::get(&service, &format!("/jobs/{id}/samples.png?scale=1&per_class=2")).await;
    assert_eq!((sheet.width, sheet.height), (2 + 2 * 4, 2 + 10 * 4));
}

#[tokio::test]
async fn latent_rows_are_of_the_generator_that_was_asked_for() {
    // In place of a picture, the child says what is in the generator that it got.
    let told = serde_json::to_string(&Problem::new(ErrorCode::NotReady, "GENERATOR")).unwrap();
    let child = format!("cd \"$3\"; echo '{told}' | sed \"s/GENERATOR/$(cat generator-*)/\" > problem.json; exit 1");
    let service = Service::with_program(&format!("#!/bin/sh\n{child}\n")).await;
    let id = service.inspected().await;
    let claim = service.house.claim().await.unwrap();
    // The tenth is done first, and its name sorts before the second's.
    for number in ["10", "2"] {
        let file = format!("generator-{number}.safetensors");
        service.keep(&claim, &file, Role::Generator, format!("number {number}").as_bytes()).await;
    }
    let path = format!("/jobs/{id}/samples/latent.png?generator");
    for number in ["10", "2"] {
        let answer = service.get(&format!("{path}={number}")).await;
        assert_eq!(answer.problem(409), "not_ready");
        assert_eq!(answer.json()["detail"], format!("number {number}"));
    }
    let missing = service.get(&format!("{path}=0")).await;
    assert_eq!(missing.problem(409), "not_ready");
    assert!(missing.json()["detail"].as_str().unwrap().contains("no generator yet"), "{}", missing.json());
}

#[tokio::test]
async fn a_damaged_file_does_not_stop_the_service() {
    let service = Service::new().await;
    let id = service.succeeded_with(&[("bank.npz", Role::Bank, b"PK\x03\x04 no archive")]).await;
    assert_eq!(service.get(&format!("/jobs/{id}/samples.png")).await.problem(500), "internal");
    assert_eq!(service.get(&format!("/jobs/{id}/samples.npz?n=1")).await.problem(500), "internal");
    assert_eq!(service.get("/livez").await.status, 200);
}

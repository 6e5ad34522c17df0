//! `/metrics`: well-formed, true, bounded, and as `docs/METRICS.md` says.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use kegd::{
    domain::problem::{Cause, ErrorCode, Problem},
    queue::Ending,
    retention::Policy,
};

use crate::service::{LENET, Part, Service};

/// A metric, as the format has it.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    /// Name (with its suffix), labels, value.
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Reads the text format by its rules, and panics where one is broken: a metric is declared once, before its samples, which
/// stand together; no sample comes twice; names and labels are well-formed.
fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'));
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut current = String::new();
    let mut helped = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && !help.contains('\\'), "{line}");
            helped = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, helped);
            assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
            assert!(kind != "counter" || name.ends_with("_total"), "{line}");
            assert!(
                families.insert(name.to_owned(), Family { kind: kind.to_owned(), samples: vec![] }).is_none(),
                "{line}"
            );
            current = name.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(seen.insert(series.to_owned()), "twice: {series}");
            let (name, labels) =
                series.split_once('{').map_or((series, ""), |(name, rest)| (name, rest.strip_suffix('}').unwrap()));
            let family = families.get_mut(&current).unwrap();
            let suffix = name.strip_prefix(&current).unwrap_or_else(|| panic!("{name} stands below {current}"));
            match family.kind.as_str() {
                "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
                _ => assert_eq!(suffix, "", "{line}"),
            }
            let value = if value == "+Inf" { f64::INFINITY } else { value.parse().unwrap() };
            family.samples.push((name.to_owned(), read_labels(labels), value));
        }
    }
    families
}

fn read_labels(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").unwrap();
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (_, '\\') => value.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    c => panic!("\\{c}"),
                }),
                (index, '"') => break index,
                (_, c) => value.push(c),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} twice");
        text = rest[end + 1..].strip_prefix(',').unwrap_or(&rest[end + 1..]);
    }
    labels
}

async fn scrape(service: &Service) -> BTreeMap<String, Family> {
    let answer = service.get("/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    parse(std::str::from_utf8(&answer.body).unwrap())
}

fn value(families: &BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)]) -> f64 {
    let family = &families[name.strip_suffix("_count").or(name.strip_suffix("_sum")).unwrap_or(name)];
    let wanted: BTreeMap<String, String> = labels.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    let found = family.samples.iter().find(|(of, labels, _)| of == name && *labels == wanted);
    found.unwrap_or_else(|| panic!("{name} {wanted:?} is not in {:?}", family.samples)).2
}

/// A service where everything has happened once.
async fn eventful() -> Service {
    let service = Service::with_policy(Policy { storage: Some(1 << 30), ..Policy::default() }).await;
    service.house.queue.begin_life("worker-1", &["cpu".to_owned(), "cpu".to_owned()]).await.unwrap();
    service.succeeded().await;
    service.submitted().await;
    let claim = service.house.claim().await.unwrap();
    service.house.queue.finish(&claim, Ending::Failed(refusal(&["Loop", "Loop", "My\"Own", "Other\n"]))).await.unwrap();
    service.submitted().await;
    service.house.claim().await.unwrap();
    service.submitted().await;
    service.house.collector(Policy::default()).collect().await.unwrap();
    service
}

fn refusal(operators: &[&str]) -> Problem {
    let cause = |operator: &&str| Cause { detail: "no".into(), param: None, operator: Some((*operator).into()) };
    Problem::new(ErrorCode::UnsupportedOperators, "no").errors(operators.iter().map(cause).collect())
}

#[tokio::test]
async fn the_page_lists_exactly_what_is_exported() {
    let families = scrape(&eventful().await).await;
    let exported: BTreeMap<String, (String, BTreeSet<String>)> = families
        .into_iter()
        .map(|(name, family)| {
            let labels = family.samples.iter().flat_map(|(_, labels, _)| labels.keys().cloned());
            let labels = labels.filter(|label| label != "le").collect();
            assert!(!family.samples.is_empty(), "{name} has no sample here: is it tested at all?");
            (name, (family.kind, labels))
        })
        .collect();
    let page = include_str!("../../docs/METRICS.md");
    let documented: BTreeMap<String, (String, BTreeSet<String>)> = page
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| `")?.split('|').map(str::trim).collect();
            let labels =
                cells[2].split(',').map(|label| label.trim().trim_matches('`')).filter(|label| !label.is_empty());
            Some((cells[0].trim_matches('`').to_owned(), (cells[1].to_owned(), labels.map(str::to_owned).collect())))
        })
        .collect();
    assert_eq!(exported, documented);
    let alerts = page.split("## Alerts").nth(1).unwrap();
    for word in alerts.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        if word.starts_with("kegd_") || word.starts_with("process_") {
            assert!(exported.contains_key(word), "an alert on {word}, which is not exported");
        }
    }
}

#[tokio::test]
async fn the_figures_are_true() {
    let service = eventful().await;
    let families = scrape(&service).await;
    let value = |name: &str, labels: &[(&str, &str)]| value(&families, name, labels);
    for (status, count) in [("queued", 1.0), ("running", 1.0), ("succeeded", 1.0), ("failed", 1.0), ("canceled", 0.0)] {
        assert_eq!(value("kegd_jobs", &[("status", status)]), count, "{status}");
    }
    assert_eq!(value("kegd_tasks", &[("kind", "inspect"), ("status", "running")]), 1.0);
    assert_eq!(value("kegd_tasks", &[("kind", "inspect"), ("status", "queued")]), 1.0);
    assert_eq!(value("kegd_slots", &[("device", "cpu")]), 2.0);
    assert_eq!(value("kegd_slots_busy", &[("device", "cpu")]), 1.0);
    assert_eq!(value("kegd_workers", &[("state", "alive")]), 1.0);
    assert_eq!(value("kegd_jobs_submitted_total", &[]), 4.0);
    assert_eq!(value("kegd_upload_bytes_total", &[]), 4.0 * LENET.len() as f64);
    assert_eq!(value("kegd_storage_bytes", &[("kind", "teacher")]), 4.0 * LENET.len() as f64);
    assert_eq!(value("kegd_storage_bytes", &[("kind", "student")]), 10.0);
    assert_eq!(value("kegd_storage_limit_bytes", &[]), f64::from(1 << 30));
    assert_eq!(value("kegd_jobs_finished_total", &[("status", "failed")]), 1.0);
    assert_eq!(value("kegd_runs_total", &[("kind", "inspect"), ("outcome", "succeeded")]), 1.0);
    assert_eq!(value("kegd_runs_total", &[("kind", "inspect"), ("outcome", "failed")]), 1.0);
    assert_eq!(value("kegd_import_unsupported_operators_total", &[("operator", "Loop")]), 1.0, "once for the model");
    assert_eq!(value("kegd_import_unsupported_operators_total", &[("operator", "other")]), 1.0);
    assert_eq!(value("kegd_queue_wait_seconds_count", &[("kind", "inspect")]), 3.0);
    assert_eq!(value("kegd_job_duration_seconds_count", &[("status", "succeeded")]), 1.0);
    assert_eq!(value("kegd_http_requests_total", &[("method", "POST"), ("path", "/jobs"), ("status", "202")]), 4.0);
    assert!(value("kegd_gc_last_success_timestamp_seconds", &[]) > 1.7e9);
    assert!(value("process_resident_memory_bytes", &[]) > 1e6);
    assert!(value("process_open_fds", &[]) > 3.0);
}

#[tokio::test]
async fn buckets_rise_to_the_count() {
    let families = scrape(&eventful().await).await;
    let mut checked = 0;
    for (name, family) in families.iter().filter(|(_, family)| family.kind == "histogram") {
        let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (_, labels, count) in family.samples.iter().filter(|(of, ..)| of.ends_with("_bucket")) {
            let mut labels = labels.clone();
            let bound = labels.remove("le").unwrap();
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            series.entry(format!("{labels:?}")).or_default().push((bound, *count));
        }
        for (labels, buckets) in series {
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name} {labels}: {buckets:?}");
            assert_eq!(buckets.last().unwrap().0, f64::INFINITY);
            let of_these = |(of, with, _): &&(String, BTreeMap<String, String>, f64)| {
                of.ends_with("_count") && format!("{with:?}") == labels
            };
            assert_eq!(family.samples.iter().find(of_these).unwrap().2, buckets.last().unwrap().1, "{name} {labels}");
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked}");
}

#[tokio::test]
async fn counters_outlive_what_they_counted() {
    let service = eventful().await;
    let everything = Policy { storage: Some(0), ..Policy::default() };
    assert_eq!(service.house.collector(everything).collect().await.unwrap().jobs, 2);
    let families = scrape(&service).await;
    assert_eq!(value(&families, "kegd_jobs", &[("status", "succeeded")]), 0.0);
    assert_eq!(value(&families, "kegd_jobs_finished_total", &[("status", "succeeded")]), 1.0);
    assert_eq!(value(&families, "kegd_runs_total", &[("kind", "distill"), ("outcome", "succeeded")]), 1.0);
    assert_eq!(value(&families, "kegd_gc_deleted_jobs_total", &[("reason", "max_storage")]), 2.0);
    assert!(value(&families, "kegd_gc_deleted_bytes_total", &[("reason", "max_storage")]) > 2.0 * LENET.len() as f64);
}

#[tokio::test]
async fn nothing_a_client_sends_makes_a_new_label() {
    let service = eventful().await;
    let id = service.submitted().await;
    let strange = async |index: usize| {
        let method: Method = format!("STRANGE{index}").parse().unwrap();
        service.ask(method, "/jobs", &[], "").await;
        service.ask(Method::from_bytes(b"BREW").unwrap(), &format!("/nowhere/{index}"), &[], "").await;
        service.get(&format!("/jobs/{id}?wait=0&x={index}")).await;
        service.get(&format!("/jobs/{index}")).await;
        service.upload("/jobs", &[Part::file("model", &format!("{index}.onnx"), b"no model")], &[]).await;
        service.house.store.count_refusal(&refusal(&[&format!("Own{index}")])).await.unwrap();
    };
    let series = async || scrape(&service).await.values().map(|family| family.samples.len()).sum::<usize>();
    strange(0).await;
    series().await;
    let before = series().await;
    for index in 1..20 {
        strange(index).await;
    }
    assert_eq!(series().await, before);
    let text = String::from_utf8(service.get("/metrics").await.body.to_vec()).unwrap();
    assert!(!text.contains(&id.to_string()[..13]), "the id of a job");
}

//! Several students of one job, and jobs that use another one's generators.

use axum::http::{Method, StatusCode};
use kegd::{
    domain::{access::Scope, artifact::Role, ids::JobId, metric::MetricPoint},
    queue::{Beat, Claim, Ending, Product},
    store::SampleRow,
};
use serde_json::{Value, json};

use crate::{
    common::{facts, house::name},
    service::{Answer, LENET, Part, Service},
};

impl Service {
    async fn submit_with(&self, config: &Value, headers: &[(&str, &str)]) -> Answer {
        let config = config.to_string();
        self.upload("/jobs", &[Part::file("model", "lenet5.onnx", LENET), Part::text("config", &config)], headers).await
    }

    /// Takes what waits of the queue through a run: of a distillation, with the number of its target as the student.
    async fn step(&self) -> Option<Claim> {
        let claim = self.house.claim().await?;
        let product = match (claim.kind().generator(), claim.kind().student()) {
            (Some(generator), _) => {
                self.keep(&claim, &format!("generator-{generator}.safetensors"), Role::Generator, b"weights").await;
                for epoch in [1, 4] {
                    let file = format!("samples-g{generator}-e{epoch}.npz");
                    let artifact = self.keep(&claim, &file, Role::Samples, b"inputs").await;
                    let sample = SampleRow { artifact: name(&file), generator, epoch, count: 10 };
                    let _ = self.house.queue.keep(&claim, &artifact, Some(&sample)).await.unwrap();
                }
                Product::Extracted
            }
            (_, Some(number)) => {
                let file = |file: &str| claim.settings.file_of_student(number, file);
                self.keep(&claim, &file("student.onnx"), Role::Student, number.to_string().as_bytes()).await;
                let mut report = facts::report(claim.settings.of_student(number));
                report.result.student.parameters = u64::from(number);
                self.keep(&claim, &file("report.json"), Role::Report, &serde_json::to_vec(&report).unwrap()).await;
                Product::Distilled(Box::new(report))
            }
            _ => {
                let mut inspection = facts::inspection(kegd::domain::presets::TeacherKind::ResidualImage);
                inspection.model.sha256.clone_from(&claim.inputs.files[0].sha256);
                Product::Inspected(Box::new(inspection))
            }
        };
        self.house.queue.finish(&claim, Ending::Succeeded(product)).await.unwrap();
        Some(claim)
    }

    /// A job taken to its end.
    async fn finished(&self, config: &Value) -> JobId {
        let answer = self.submit_with(config, &[]).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{:?}", answer.body);
        while self.step().await.is_some() {}
        answer.json()["id"].as_str().unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn each_student_of_a_sweep_is_found_by_its_target() {
    let service = Service::new().await;
    let id = service.finished(&json!({"compression": {"ratio": [2, 4.5, 8]}})).await;
    let job = service.get(&format!("/jobs/{id}")).await.json();
    assert_eq!(
        (&job["status"], &job["config"]["compression"]["ratio"]),
        (&json!("succeeded"), &json!([2.0, 4.5, 8.0]))
    );
    assert_eq!(job["result"], job["results"][0]["result"]);
    for (number, target) in ["2", "4.5", "8"].into_iter().enumerate() {
        let made = &job["results"][number];
        assert_eq!((&made["by"], made["target"].to_string().trim_end_matches(".0")), (&json!("ratio"), target));
        let files = [format!("student-ratio-{target}.onnx"), format!("report-ratio-{target}.json")];
        assert_eq!(made["artifacts"], json!(files));
        let links = ["student", "report", "layers"].map(|link| made["links"][link].as_str().unwrap());
        assert_eq!(links[0], format!("/jobs/{id}/student?target={target}"));
        let student = service.get(links[0]).await;
        assert_eq!(student.body, number.to_string(), "{target}");
        let disposition = format!("attachment; filename=\"lenet5-student-ratio-{target}.onnx\"");
        assert_eq!(student.header("content-disposition"), disposition);
        let report = service.get(links[1]).await.json();
        assert_eq!(report["settings"]["compression"]["ratio"], made["target"]);
        assert_eq!(service.get(links[2]).await.json()["planned"], false);
        let page = service.get_with(links[1], &[("accept", "text/html")]).await;
        let page = String::from_utf8_lossy(&page.body).into_owned();
        assert!(page.contains(&format!("lenet5, ratio {target}")) && page.contains(links[0]), "{page}");
        assert_eq!(service.get(&format!("/jobs/{id}/artifacts/{}", files[0])).await.status, StatusCode::OK);
    }
    assert_eq!(service.get(&format!("/jobs/{id}/student")).await.body, "0", "the first where none is named");
    for what in ["student", "report", "layers"] {
        let missing = service.get(&format!("/jobs/{id}/{what}?target=3")).await;
        assert_eq!(missing.problem(404), "not_found", "{what}");
        assert!(missing.json()["hint"].as_str().unwrap().contains("2, 4.5, 8"));
        assert_eq!(service.get(&format!("/jobs/{id}/{what}?target=two")).await.problem(400), "invalid_request");
    }
}

#[tokio::test]
async fn one_target_behaves_as_it_always_did() {
    let service = Service::new().await;
    let id = service.finished(&json!({"compression": {"parameters": 15000}})).await;
    let job = service.get(&format!("/jobs/{id}")).await.json();
    let made = &job["results"][0];
    assert_eq!(job["results"].as_array().unwrap().len(), 1);
    assert_eq!((&made["by"], &made["target"]), (&json!("parameters"), &json!(15000.0)));
    assert_eq!(made["artifacts"], json!(["student.onnx", "report.json"]));
    assert_eq!(made["links"]["student"], format!("/jobs/{id}/student"));
    assert_eq!(service.get(&format!("/jobs/{id}/student?target=15000")).await.status, StatusCode::OK);
    assert_eq!(service.get(&format!("/jobs/{id}/student?target=4")).await.problem(404), "not_found");
}

#[tokio::test]
async fn students_are_there_as_soon_as_they_are_done() {
    let service = Service::new().await;
    let config = json!({"compression": {"ratio": [2, 4]}, "extraction": {"generators": 1}});
    let id = service.submit_with(&config, &[]).await.json()["id"].as_str().unwrap().to_owned();
    let mut first = None;
    while first.is_none() {
        first = service.step().await.unwrap().kind().student();
    }
    let (done, waits) = if first == Some(0) { (2, 4) } else { (4, 2) };
    assert_eq!(service.get(&format!("/jobs/{id}/student?target={done}")).await.status, StatusCode::OK);
    assert_eq!(service.get(&format!("/jobs/{id}/student?target={waits}")).await.problem(409), "not_ready");
    assert_eq!(service.get(&format!("/jobs/{id}/report?target={waits}")).await.problem(409), "not_ready");
    let job = service.get(&format!("/jobs/{id}")).await.json();
    assert_eq!((job["results"].as_array().unwrap().len(), &job["result"]), (1, &Value::Null));
}

#[tokio::test]
async fn what_is_wrong_with_targets_is_named() {
    let service = Service::new().await;
    for (compression, words) in [
        (json!({"ratio": 2, "bytes": 1000}), "`ratio` and `bytes` exclude each other"),
        (json!({"macs": [1, 2, 3, 4, 5, 6, 7, 8, 9]}), "1 to 8 targets"),
        (json!({"latency": [2, 2]}), "given twice"),
        (json!({"layers": {}, "keep": ["fc2"]}), "`keep` belongs to a target"),
    ] {
        let answer = service.submit_with(&json!({"compression": compression}), &[]).await;
        assert_eq!(answer.problem(422), "invalid_config");
        assert!(answer.json()["detail"].as_str().unwrap().contains(words), "{}", answer.json());
    }
}

#[tokio::test]
async fn an_inspection_plans_every_target_and_refuses_what_cannot_be() {
    let service = Service::new().await;
    let inspect = async |compression: Value| {
        let config = json!({"compression": compression}).to_string();
        let parts = [Part::file("model", "lenet5.onnx", LENET), Part::text("config", &config)];
        service.upload("/inspect", &parts, &[]).await
    };
    let swept = inspect(json!({"macs": [200_000, 300_000], "keep": ["conv1"]})).await.json();
    let after =
        |plan: &Value| -> u64 { plan.as_array().unwrap().iter().map(|row| row["macs_after"].as_u64().unwrap()).sum() };
    assert_eq!(swept["plan"], swept["sweep"][0]["plan"]);
    for (planned, most) in swept["sweep"].as_array().unwrap().iter().zip([200_000_u32, 300_000]) {
        assert_eq!((&planned["by"], planned["target"].as_f64()), (&json!("macs"), Some(f64::from(most))));
        let macs = after(&planned["plan"]);
        assert!(macs <= u64::from(most) && macs > u64::from(most) * 9 / 10, "{macs} of {most}");
        assert_eq!(
            (&planned["plan"][0]["action"], &planned["plan"][0]["reason"]),
            (&json!("keep"), &json!("kept as asked"))
        );
    }
    let problem = inspect(json!({"parameters": [20_000, 100]})).await;
    assert_eq!(problem.problem(422), "invalid_compression");
    assert_eq!(problem.json()["param"], "config.compression.parameters");
    let problem = inspect(json!({"bytes": 20_000, "keep": ["conv7"]})).await;
    assert_eq!(problem.problem(422), "invalid_compression");
    assert_eq!(problem.json()["param"], "config.compression.keep");
}

#[tokio::test]
async fn generators_are_used_again_and_belong_to_the_new_job_too() {
    let service = Service::new().await;
    let source = service.finished(&json!({"preset": "paper", "extraction": {"generators": 2}})).await;
    let config = json!({"from_job": source, "compression": {"ratio": 8}, "keep_upload": false});
    let answer = service.submit_with(&config, &[]).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{:?}", answer.body);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let config = &answer.json()["config"];
    assert_eq!((&config["from_job"], &config["extraction"]["epochs"]), (&json!(source), &json!(200)));
    // The source may go at any time: what it shared is the new job's own.
    assert_eq!(service.ask(Method::DELETE, &format!("/jobs/{source}"), &[], "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(service.step().await.unwrap().kind().name(), "inspect");
    let distill = service.house.claim().await.unwrap();
    assert_eq!(distill.kind().student(), Some(0), "none is trained");
    let generators: Vec<String> = distill.inputs.generators.iter().map(ToString::to_string).collect();
    assert_eq!(generators, ["generator-0.safetensors", "generator-1.safetensors"]);
    assert_eq!(distill.settings.extraction.epochs, 200, "as trained, also once the teacher is known");
    for file in &distill.inputs.files {
        let copy = service.house.directory.path().join(format!("copy-{}", file.name));
        service.house.artifacts.copy_to(file, &copy).await.unwrap();
    }
    let samples = service.get(&format!("/jobs/{id}/samples")).await.json();
    let shown: Vec<(u64, u64)> = samples["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["generator"].as_u64().unwrap(), row["epoch"].as_u64().unwrap()))
        .collect();
    assert_eq!(shown, [(0, 4), (1, 4)]);
    let report = facts::report(distill.settings.clone());
    service.keep(&distill, "student.onnx", Role::Student, b"student").await;
    service.house.queue.finish(&distill, Ending::Succeeded(Product::Distilled(Box::new(report)))).await.unwrap();
    let job = service.get(&format!("/jobs/{id}")).await.json();
    assert_eq!((&job["status"], job["upload_deleted_at"].is_null()), (&json!("succeeded"), false));
    let sample = samples["data"][0]["href"].as_str().unwrap();
    assert_eq!(service.get(sample).await.status, StatusCode::OK, "they are no upload, and stay");
    let again = service.submit_with(&json!({"from_job": id}), &[]).await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "from one that used them itself: {:?}", again.body);
}

#[tokio::test]
async fn a_job_that_starts_anew_has_its_generators_still() {
    let service = Service::new().await;
    let source = service.finished(&json!({"extraction": {"generators": 2}})).await;
    let id = service.finished(&json!({"from_job": source})).await;
    assert_eq!(
        service.ask(Method::POST, &format!("/jobs/{id}/retry"), &[], r#"{"from":"start"}"#).await.status,
        StatusCode::ACCEPTED
    );
    assert_eq!(service.step().await.unwrap().kind().name(), "inspect");
    let claim = service.house.claim().await.unwrap();
    assert_eq!((claim.kind().student(), claim.inputs.generators.len()), (Some(0), 2));
}

#[tokio::test]
async fn generators_that_do_not_fit_are_refused_with_the_reason() {
    let service = Service::new().await;
    let refused = async |config: Value, words: &str| {
        let answer = service.submit_with(&config, &[]).await;
        assert_eq!(answer.problem(422), "invalid_config");
        let problem = answer.json();
        assert_eq!(problem["param"], "config.from_job");
        assert!(problem["detail"].as_str().unwrap().contains(words) && !problem["hint"].is_null(), "{problem}");
    };
    let nobody = JobId::new();
    refused(json!({"from_job": nobody}), "you have no job").await;
    let waiting = service.submitted().await;
    refused(json!({"from_job": waiting}), "is queued").await;
    // Of three generators it has trained one when it is canceled.
    assert_eq!(service.step().await.unwrap().kind().name(), "inspect");
    assert!(service.step().await.unwrap().kind().generator().is_some());
    service.post(&format!("/jobs/{waiting}/cancel")).await;
    refused(json!({"from_job": waiting}), "has 1 of its 3 generators").await;
    let source = service.finished(&json!({"extraction": {"epochs": 3}})).await;
    refused(json!({"from_job": source, "extraction": {"epochs": 4}}), "`extraction.epochs` is 4 here, and was 3").await;
    let noise = service.finished(&json!({"extraction": {"sampler": "gaussian"}})).await;
    refused(json!({"from_job": noise}), "has no generators").await;
    let other = [LENET, b"more"].concat();
    let config = json!({"from_job": source}).to_string();
    let parts = [Part::file("model", "lenet5.onnx", &other), Part::text("config", &config)];
    let answer = service.upload("/jobs", &parts, &[]).await;
    assert_eq!(answer.problem(422), "invalid_config");
    assert!(answer.json()["detail"].as_str().unwrap().contains("another model"), "{}", answer.json());
    service.ask(Method::DELETE, &format!("/jobs/{source}"), &[], "").await;
    refused(json!({"from_job": source}), "you have no job").await;
    let bad = service.submit_with(&json!({"from_job": "yesterday's"}), &[]).await;
    assert_eq!((bad.problem(422).as_str(), &bad.json()["param"]), ("invalid_config", &json!("config.from_job")));
}

#[tokio::test]
async fn a_canceled_job_with_all_its_generators_gives_them() {
    let service = Service::new().await;
    let answer = service.submit_with(&json!({"extraction": {"generators": 1}}), &[]).await;
    let source = answer.json()["id"].clone();
    for _ in 0..2 {
        service.step().await.unwrap();
    }
    service.post(&format!("/jobs/{}/cancel", source.as_str().unwrap())).await;
    assert_eq!(service.submit_with(&json!({"from_job": source}), &[]).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn another_owners_job_is_as_good_as_none() {
    let service = Service::new().await;
    let (mine, other) = (service.key("mine", Scope::Submit).await, service.key("other", Scope::Submit).await);
    let answer = service.submit_with(&json!({"extraction": {"generators": 1}}), &mine.headers()).await;
    let source: JobId = answer.json()["id"].as_str().unwrap().parse().unwrap();
    while service.step().await.is_some() {}
    let config = json!({"from_job": source});
    let answer = service.submit_with(&config, &other.headers()).await;
    assert_eq!(answer.problem(422), "invalid_config");
    let theirs = answer.json()["detail"].as_str().unwrap().replace(&source.to_string(), "");
    let nobody = JobId::new();
    let none = service.submit_with(&json!({"from_job": nobody}), &other.headers()).await.json();
    assert_eq!(theirs, none["detail"].as_str().unwrap().replace(&nobody.to_string(), ""), "the same answer");
    assert_eq!(service.submit_with(&config, &mine.headers()).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_repeated_request_gives_its_job_also_when_the_source_is_gone() {
    let service = Service::new().await;
    let source = service.finished(&json!({"extraction": {"generators": 1}})).await;
    let config = json!({"from_job": source});
    let first = service.submit_with(&config, &[("idempotency-key", "once")]).await.json();
    service.ask(Method::DELETE, &format!("/jobs/{source}"), &[], "").await;
    let second = service.submit_with(&config, &[("idempotency-key", "once")]).await;
    assert_eq!((second.status, &second.json()["id"]), (StatusCode::ACCEPTED, &first["id"]));
}

#[tokio::test]
async fn series_of_a_sweep_say_whose_they_are() {
    let service = Service::new().await;
    let config = json!({"compression": {"ratio": [2, 4.5]}, "extraction": {"sampler": "uniform"}});
    let id = service.submit_with(&config, &[]).await.json()["id"].as_str().unwrap().to_owned();
    service.step().await.unwrap();
    for _ in 0..2 {
        let claim = service.house.claim().await.unwrap();
        let value = f64::from(claim.kind().student().unwrap());
        let metrics = vec![MetricPoint { name: "loss".into(), step: 1, value }];
        let _ = service.house.queue.record(&claim, &Beat { progress: None, metrics }).await.unwrap();
    }
    let series = service.get(&format!("/jobs/{id}/metrics")).await.json()["series"].clone();
    let mut found: Vec<(f64, f64)> = series
        .as_array()
        .unwrap()
        .iter()
        .map(|series| (series["target"].as_f64().unwrap(), series["points"][0][1].as_f64().unwrap()))
        .collect();
    found.sort_by(|one, other| one.0.total_cmp(&other.0));
    assert_eq!(found, [(2.0, 0.0), (4.5, 1.0)]);
    let table = service.get_with(&format!("/jobs/{id}/metrics"), &[("accept", "text/csv")]).await;
    let table = String::from_utf8_lossy(&table.body).into_owned();
    let mut lines: Vec<&str> = table.lines().collect();
    lines[1..].sort_unstable();
    assert_eq!(lines, ["name,generator,step,value,target", "loss,,1,0,2", "loss,,1,1,4.5"]);
}

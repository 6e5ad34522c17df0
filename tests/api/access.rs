//! Who gets in, what a scope may do, whose jobs are whose, and how much a key may take up.

use axum::http::{Method, StatusCode};
use kegd::{
    domain::access::{ApiKey, Quota, Scope},
    store::NewKey,
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    contract::CONTRACT,
    service::{Answer, LENET, Part, Service},
};

/// A key as a client holds it.
pub struct Holder {
    header: String,
    id: String,
}

impl Holder {
    pub fn headers(&self) -> [(&str, &str); 1] {
        [("authorization", &self.header)]
    }
}

impl Service {
    pub async fn key(&self, name: &str, scope: Scope) -> Holder {
        self.key_with(name, scope, Quota::default(), None).await
    }

    async fn key_with(&self, name: &str, scope: Scope, quota: Quota, expires_in: Option<i64>) -> Holder {
        let mut entropy = [0; 36];
        rand::fill(&mut entropy[..]);
        let key = ApiKey::new(&entropy);
        let expires_at = expires_in
            .map(|millis| jiff::Timestamp::from_millisecond(self.house.store.clock().now() + millis).unwrap());
        let new = NewKey { id: key.id().clone(), name: name.into(), scope, digest: key.digest(), quota, expires_at };
        self.house.store.create_key(&new).await.unwrap();
        Holder { header: format!("Bearer {}", key.expose()), id: key.id().to_string() }
    }

    async fn as_holder(&self, holder: &Holder, method: Method, path: &str) -> Answer {
        self.ask(method, path, &holder.headers(), "").await
    }

    async fn submit_as(&self, holder: &Holder, more: &[(&str, &str)]) -> Answer {
        let headers: Vec<_> = holder.headers().into_iter().chain(more.iter().copied()).collect();
        self.upload("/jobs", &[Part::file("model", "lenet5.onnx", LENET)], &headers).await
    }

    async fn job_of(&self, holder: &Holder) -> String {
        let answer = self.submit_as(holder, &[]).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{:?}", answer.body);
        answer.json()["id"].as_str().unwrap().to_owned()
    }
}

/// What each path of the contract needs: written down once more, by hand.
fn scope_of(method: &str, path: &str) -> Option<Scope> {
    match (method, path) {
        (_, "/livez" | "/readyz" | "/version" | "/openapi.json") => None,
        (_, "/metrics" | "/workers") => Some(Scope::Admin),
        ("get", _) => Some(Scope::Read),
        ("post", "/jobs" | "/inspect" | "/jobs/{id}/cancel" | "/jobs/{id}/retry") | ("delete", "/jobs/{id}") => {
            Some(Scope::Submit)
        }
        other => panic!("{other:?} is new: say what it needs"),
    }
}

#[tokio::test]
async fn every_path_asks_for_the_scope_it_needs() {
    let service = Service::new().await;
    let keys = [
        (Scope::Read, service.key("reader", Scope::Read).await),
        (Scope::Submit, service.key("submitter", Scope::Submit).await),
        (Scope::Admin, service.key("admin", Scope::Admin).await),
    ];
    for (path, methods) in CONTRACT {
        for method in methods {
            let needed = scope_of(method, path);
            let method: Method = method.to_uppercase().parse().unwrap();
            let path = path.replace("{id}", "01900000-0000-7000-8000-000000000000").replace("{name}", "report.json");
            let without = service.ask(method.clone(), &path, &[], "").await;
            match needed {
                None => assert_eq!(without.status, 200, "{method} {path}"),
                Some(_) => {
                    assert_eq!(without.problem(401), "unauthorized", "{method} {path}");
                    assert_eq!(without.header("www-authenticate"), "Bearer realm=\"kegd\"");
                    assert!(without.json()["hint"].as_str().unwrap().contains("Bearer"), "{}", without.json());
                }
            }
            for (scope, holder) in &keys {
                let answer = service.as_holder(holder, method.clone(), &path).await;
                if needed.is_some_and(|needed| !scope.includes(needed)) {
                    assert_eq!(answer.problem(403), "forbidden", "{scope} {method} {path}");
                    assert!(answer.json()["hint"].is_string());
                } else {
                    assert!(!matches!(answer.status.as_u16(), 401 | 403), "{scope} {method} {path}: {}", answer.status);
                }
            }
        }
    }
}

#[tokio::test]
async fn openapi_says_which_scope_a_path_needs() {
    let document = Service::new().await.get("/openapi.json").await.json();
    for (path, methods) in CONTRACT {
        for method in methods {
            let responses = &document["paths"][path][method]["responses"];
            let forbidden = responses["403"]["description"].as_str();
            assert_eq!(responses["401"].is_object(), scope_of(method, path).is_some(), "{method} {path}");
            assert_eq!(forbidden.is_some(), scope_of(method, path).is_some(), "{method} {path}");
        }
    }
    let workers = &document["paths"]["/workers"]["get"]["responses"]["403"]["description"];
    assert!(workers.as_str().unwrap().contains("`admin`"), "{workers}");
}

#[tokio::test]
async fn the_page_needs_no_key() {
    let service = Service::new().await;
    service.key("admin", Scope::Admin).await;
    for path in ["/", "/docs", "/app.js", "/js/api.js", "/style.css", "/docs.js"] {
        assert_eq!(service.get(path).await.status, 200, "{path}");
    }
    assert_eq!(service.get("/nowhere").await.problem(404), "not_found");
}

#[tokio::test]
async fn nobody_is_asked_until_there_is_a_key_and_everybody_from_then_on() {
    let service = Service::new().await;
    let before = service.submitted().await;
    assert_eq!(service.get("/usage").await.json()["key"], Value::Null);
    let stale = [("authorization", "Bearer kegd_00000000_00")];
    assert_eq!(service.get_with("/jobs", &stale).await.status, 200, "a page may still hold a key of another service");

    let admin = service.key("admin", Scope::Admin).await;
    assert_eq!(service.get("/jobs").await.problem(401), "unauthorized");
    let jobs = service.as_holder(&admin, Method::GET, "/jobs").await.json();
    assert_eq!(jobs["data"][0]["id"], before.to_string());
    assert_eq!(jobs["data"][0]["owner"], Value::Null);

    service.house.store.revoke_key("admin").await.unwrap().unwrap();
    let revoked = service.as_holder(&admin, Method::GET, "/jobs").await;
    assert_eq!(revoked.problem(401), "unauthorized");
    assert!(revoked.json()["detail"].as_str().unwrap().contains("revoked"), "{}", revoked.json());
    assert_eq!(service.get("/jobs").await.problem(401), "unauthorized", "without its last key it stays closed");
}

#[tokio::test]
async fn what_is_no_valid_key_opens_nothing() {
    let service = Service::new().await;
    let admin = service.key("admin", Scope::Admin).await;
    let expired = service.key_with("old", Scope::Admin, Quota::default(), Some(-1)).await;
    let answer = service.as_holder(&expired, Method::GET, "/jobs").await;
    assert_eq!(answer.problem(401), "unauthorized");
    assert!(answer.json()["detail"].as_str().unwrap().contains("expired"), "{}", answer.json());
    let later = service.key_with("young", Scope::Read, Quota::default(), Some(3_600_000)).await;
    assert_eq!(service.as_holder(&later, Method::GET, "/jobs").await.status, 200);

    let other = service.key("other", Scope::Admin).await;
    let mixed = format!("Bearer kegd_{}_{}", admin.id, other.header.rsplit('_').next().unwrap());
    let cut = admin.header[..admin.header.len() - 1].to_owned();
    let bare = admin.header.strip_prefix("Bearer ").unwrap().to_owned();
    let basic = format!("Basic {bare}");
    for header in ["", "Bearer", "Bearer ", "Bearer kegd_", &mixed, &cut, &bare, &basic] {
        let answer = service.get_with("/jobs", &[("authorization", header)]).await;
        assert_eq!(answer.problem(401), "unauthorized", "{header}");
        let secret = header.rsplit('_').next().unwrap();
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(secret.len() < 32 || !body.contains(secret), "an answer repeats what was sent: {body}");
    }
    let lower = admin.header.replace("Bearer", "bearer");
    assert_eq!(service.get_with("/jobs", &[("authorization", &lower)]).await.status, 200, "schemes have no case");
}

#[tokio::test]
async fn a_job_is_changed_by_its_owner_or_an_admin_alone() {
    let service = Service::new().await;
    let nobodys = service.submitted().await.to_string();
    let (one, other) = (service.key("one", Scope::Submit).await, service.key("other", Scope::Submit).await);
    let admin = service.key("admin", Scope::Admin).await;
    let id = service.job_of(&one).await;
    let seen = service.as_holder(&other, Method::GET, &format!("/jobs/{id}")).await.json();
    assert_eq!(seen["owner"], one.id, "everybody with a key may look");
    for path in [format!("/jobs/{id}"), format!("/jobs/{nobodys}")] {
        for (method, verb) in [(Method::POST, "/cancel"), (Method::POST, "/retry"), (Method::DELETE, "")] {
            let answer = service.as_holder(&other, method.clone(), &format!("{path}{verb}")).await;
            assert_eq!(answer.problem(403), "forbidden", "{method} {path}{verb}");
        }
    }
    assert_eq!(service.as_holder(&one, Method::POST, &format!("/jobs/{id}/cancel")).await.status, 200);
    assert_eq!(service.as_holder(&one, Method::POST, &format!("/jobs/{id}/retry")).await.status, 202);
    assert_eq!(service.as_holder(&admin, Method::POST, &format!("/jobs/{id}/cancel")).await.status, 200);
    assert_eq!(service.as_holder(&one, Method::DELETE, &format!("/jobs/{id}")).await.status, 204);
    assert_eq!(service.as_holder(&admin, Method::DELETE, &format!("/jobs/{nobodys}")).await.status, 204);
}

#[tokio::test]
async fn uploads_are_given_back_to_their_owner_and_results_to_everybody() {
    let service = Service::new().await;
    let id = service.succeeded().await;
    let reader = service.key("reader", Scope::Read).await;
    let admin = service.key("admin", Scope::Admin).await;
    let upload = format!("/jobs/{id}/artifacts/lenet5.onnx");
    assert_eq!(service.as_holder(&reader, Method::GET, &upload).await.problem(403), "forbidden");
    assert_eq!(service.as_holder(&admin, Method::GET, &upload).await.body, LENET);
    for path in ["student", "report", "artifacts/report.json", "artifacts"] {
        let answer = service.as_holder(&reader, Method::GET, &format!("/jobs/{id}/{path}")).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    let owner = service.key("owner", Scope::Submit).await;
    let own = service.job_of(&owner).await;
    let upload = format!("/jobs/{own}/artifacts/lenet5.onnx");
    assert_eq!(service.as_holder(&owner, Method::GET, &upload).await.body, LENET);
}

#[tokio::test]
async fn an_idempotency_key_of_somebody_else_gives_nothing_away() {
    let service = Service::new().await;
    let (one, other) = (service.key("one", Scope::Submit).await, service.key("other", Scope::Submit).await);
    let same = [("idempotency-key", "1")];
    let first = service.submit_as(&one, &same).await.json();
    let others = service.submit_as(&other, &same).await.json();
    assert_ne!(first["id"], others["id"]);
    assert_eq!(others["owner"], other.id);
    assert_eq!(service.submit_as(&one, &same).await.json()["id"], first["id"]);
}

fn seconds(answer: &Answer) -> u64 {
    let seconds = answer.header("retry-after").parse().expect("a number of seconds");
    assert_eq!(answer.json()["retry_after"], seconds);
    seconds
}

#[tokio::test]
async fn a_quota_of_open_jobs() {
    let service = Service::new().await;
    let quota = Quota { open_jobs: Some(1), ..Quota::default() };
    let holder = service.key_with("ci", Scope::Submit, quota, None).await;
    let id = service.job_of(&holder).await;
    let refused = service.submit_as(&holder, &[]).await;
    assert_eq!(refused.problem(429), "too_many_requests");
    assert_eq!(refused.json()["param"], "open_jobs");
    assert!(seconds(&refused) >= 1);
    assert_eq!(service.kept().len(), 2, "only the first job's file and folder");
    service.as_holder(&holder, Method::POST, &format!("/jobs/{id}/cancel")).await;
    let second = service.job_of(&holder).await;
    let retry = service.as_holder(&holder, Method::POST, &format!("/jobs/{id}/retry")).await;
    assert_eq!(retry.problem(429), "too_many_requests", "a retry is an open job too");
    assert_eq!(service.as_holder(&holder, Method::GET, &format!("/jobs/{id}")).await.json()["status"], "canceled");
    let usage = service.as_holder(&holder, Method::GET, "/usage").await.json();
    assert_eq!(usage["open_jobs"], json!({"used": 1, "limit": 1}));
    assert_eq!(usage["jobs_per_day"], json!({"used": 2, "limit": null}));
    assert_eq!(usage["stored_bytes"], json!({"used": 2 * LENET.len(), "limit": null}));
    assert_eq!((&usage["key"]["name"], &usage["key"]["scope"]), (&json!("ci"), &json!("submit")));
    assert_eq!(usage["key"]["id"], holder.id);
    let free = service.key("free", Scope::Submit).await;
    service.job_of(&free).await;
    service.as_holder(&holder, Method::DELETE, &format!("/jobs/{second}")).await;
}

#[tokio::test]
async fn a_quota_of_jobs_a_day_counts_what_was_deleted_and_retried() {
    let service = Service::new().await;
    let quota = Quota { jobs_per_day: Some(2), ..Quota::default() };
    let holder = service.key_with("ci", Scope::Submit, quota, None).await;
    let id = service.job_of(&holder).await;
    service.as_holder(&holder, Method::POST, &format!("/jobs/{id}/cancel")).await;
    assert_eq!(service.as_holder(&holder, Method::POST, &format!("/jobs/{id}/retry")).await.status, 202);
    service.as_holder(&holder, Method::DELETE, &format!("/jobs/{id}")).await;
    let refused = service.submit_as(&holder, &[]).await;
    assert_eq!(refused.problem(429), "too_many_requests");
    assert_eq!(refused.json()["param"], "jobs_per_day");
    let wait = seconds(&refused);
    assert!((86_000..=86_400).contains(&wait), "until the first is a day old: {wait}");
}

#[rstest]
#[case::announced(true)]
#[case::not_announced(false)]
#[tokio::test]
async fn a_quota_of_stored_bytes(#[case] announced: bool) {
    let service = Service::new().await;
    let quota = Quota { stored_bytes: Some(LENET.len() as u64 * 3 / 2), ..Quota::default() };
    let holder = service.key_with("ci", Scope::Submit, quota, None).await;
    let id = service.job_of(&holder).await;
    let length = LENET.len().to_string();
    let more: &[(&str, &str)] = if announced { &[("content-length", &length)] } else { &[] };
    let refused = service.submit_as(&holder, more).await;
    assert_eq!(refused.problem(429), "too_many_requests");
    assert_eq!(refused.json()["param"], "stored_bytes");
    assert!(seconds(&refused) >= 1);
    assert_eq!(service.kept().len(), 2, "only the first job's file and folder");
    service.as_holder(&holder, Method::DELETE, &format!("/jobs/{id}?force=true")).await;
    service.job_of(&holder).await;
}

#[tokio::test]
async fn requests_at_the_same_moment_do_not_share_a_place() {
    let service = Service::new().await;
    let quota = Quota { open_jobs: Some(3), ..Quota::default() };
    let holder = service.key_with("ci", Scope::Submit, quota, None).await;
    let answers = futures::future::join_all((0..8).map(|_| service.submit_as(&holder, &[]))).await;
    let accepted = answers.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).count();
    assert_eq!(accepted, 3);
    assert!(answers.iter().all(|answer| matches!(answer.status.as_u16(), 202 | 429)));
    assert_eq!(service.kept().len(), 2 * 3, "what was refused left nothing");
}

#[tokio::test]
async fn a_name_of_a_stranger_reaches_nothing_while_no_key_protects_it() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let rebound = [("host", "attacker.example:8080")];
    for path in ["/jobs".to_owned(), format!("/jobs/{id}/artifacts/lenet5.onnx"), "/metrics".to_owned()] {
        let answer = service.get_with(&path, &rebound).await;
        assert_eq!(answer.problem(403), "forbidden", "{path}");
        assert!(answer.json()["hint"].as_str().unwrap().contains("--allowed-hosts"), "{}", answer.json());
        assert_eq!(service.get_with(&path, &[("host", "localhost:8080")]).await.status, 200, "{path}");
    }
    assert_eq!(service.ask(Method::DELETE, &format!("/jobs/{id}"), &rebound, "").await.problem(403), "forbidden");
    assert_eq!(service.get_with("/livez", &rebound).await.status, 200);

    // A page can read nothing without the key, by whatever name it gets here.
    let reader = service.key("reader", Scope::Read).await;
    assert_eq!(service.get_with("/jobs", &rebound).await.problem(401), "unauthorized");
    let named = [("host", "kegd.internal"), ("authorization", &reader.header)];
    assert_eq!(service.get_with("/jobs", &named).await.status, 200);
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let stranger = [("host", "localhost:8080"), ("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")];
    let model = || [Part::file("model", "lenet5.onnx", LENET)];
    for path in ["/jobs", "/inspect"] {
        assert_eq!(service.upload(path, &model(), &stranger).await.problem(403), "forbidden", "{path}");
    }
    for (method, path) in [(Method::POST, format!("/jobs/{id}/cancel")), (Method::DELETE, format!("/jobs/{id}"))] {
        assert_eq!(service.ask(method, &path, &stranger, "").await.problem(403), "forbidden", "{path}");
    }
    assert_eq!(service.get(&format!("/jobs/{id}")).await.json()["status"], "queued");
    let own = [("host", "localhost:8080"), ("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")];
    assert_eq!(service.upload("/jobs", &model(), &own).await.status, 202);
}

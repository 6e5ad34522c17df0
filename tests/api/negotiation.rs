//! Which form an answer has, and what caches are told.

use axum::http::{Method, StatusCode};
use rstest::rstest;

use crate::service::Service;

#[rstest]
#[case("events", "text/html", "text/event-stream")]
#[case("metrics", "application/json;q=0, image/*", "text/csv")]
#[case("report", "image/png", "text/html")]
#[tokio::test]
async fn a_form_that_there_is_not(#[case] what: &str, #[case] accept: &str, #[case] offered: &str) {
    let service = Service::new().await;
    let path = format!("/jobs/{}/{what}", service.succeeded().await);
    let refused = service.get_with(&path, &[("accept", accept)]).await;
    assert_eq!(refused.problem(406), "not_acceptable");
    let hint = refused.json()["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains("application/json") && hint.contains(offered), "{hint}");
}

#[rstest]
#[case("metrics", "", "application/json")]
#[case("metrics", "*/*", "application/json")]
#[case("metrics", "text/*", "text/csv")]
#[case("metrics", "application/json;q=0.5, text/csv;q=0.6", "text/csv")]
#[case("report", "text/html;q=0.2, application/json;q=0.1", "text/html")]
#[case("report", "TEXT/HTML", "text/html")]
#[case("events", "application/*", "application/json")]
#[tokio::test]
async fn the_form_that_is_wanted_most(#[case] what: &str, #[case] accept: &str, #[case] expected: &str) {
    let service = Service::new().await;
    let path = format!("/jobs/{}/{what}", service.succeeded().await);
    let headers: Vec<(&str, &str)> = if accept.is_empty() { vec![] } else { vec![("accept", accept)] };
    let answer = service.get_with(&path, &headers).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.header("content-type").starts_with(expected), "{}", answer.header("content-type"));
    let vary: Vec<_> = answer.headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
    assert!(vary.join(",").contains("accept"), "a cache must not give one form for another: {vary:?}");
}

#[tokio::test]
async fn caches_are_told_what_to_do() {
    let service = Service::new().await;
    let id = service.succeeded().await;
    for path in ["/jobs", &format!("/jobs/{id}"), &format!("/jobs/{id}/student"), &format!("/jobs/{id}/events"), "/"] {
        assert_eq!(service.get(path).await.header("cache-control"), "no-cache", "{path}");
    }
    for path in ["/jobs/none", "/nowhere", "/jobs?limit=0"] {
        assert_eq!(service.get(path).await.header("cache-control"), "no-store", "{path}: it may be there later");
    }
}

#[tokio::test]
async fn what_the_client_has_is_said_with_all_that_goes_with_it() {
    let service = Service::new().await;
    let id = service.succeeded().await;
    for path in [format!("/jobs/{id}"), format!("/jobs/{id}/student"), "/style.css".to_owned()] {
        let whole = service.get(&path).await;
        let tag = whole.header("etag").to_owned();
        let lists = [tag.clone(), format!("\"other\", {tag}"), "*".to_owned(), weakened(&tag)];
        for list in lists {
            let known = service.get_with(&path, &[("if-none-match", &list)]).await;
            assert_eq!((known.status, known.body.len()), (StatusCode::NOT_MODIFIED, 0), "{path} {list}");
            for header in ["etag", "cache-control"] {
                assert_eq!(known.header(header), whole.header(header), "{path} {header}");
            }
        }
        assert_eq!(service.get_with(&path, &[("if-none-match", "\"other\"")]).await.status, StatusCode::OK, "{path}");
    }
}

fn weakened(tag: &str) -> String {
    if tag.starts_with("W/") { tag.to_owned() } else { format!("W/{tag}") }
}

#[tokio::test]
async fn a_request_with_an_unusable_id_gets_one() {
    let service = Service::new().await;
    for id in [&*"x".repeat(65), "two words", "é"] {
        let answer = service.get_with("/nowhere", &[("x-request-id", id)]).await;
        assert_eq!(answer.problem(404), "not_found");
        assert_ne!(answer.header("x-request-id"), id);
    }
}

#[tokio::test]
async fn a_slash_at_the_end_is_pointed_out() {
    let service = Service::new().await;
    let answer = service.get("/jobs/").await;
    assert_eq!(answer.problem(404), "not_found");
    assert!(answer.json()["hint"].as_str().unwrap().ends_with(" /jobs"), "{}", answer.json());
}

#[tokio::test]
async fn a_file_of_the_page_takes_get_alone() {
    let service = Service::new().await;
    let answer = service.ask(Method::POST, "/style.css", &[], "").await;
    assert_eq!((answer.problem(405).as_str(), answer.header("allow")), ("method_not_allowed", "GET,HEAD"));
}

//! Lists, a page at a time, while what they list comes and goes.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use bytes::Bytes;
use futures::StreamExt;
use kegd::{domain::artifact::Role, queue::Hold};
use rstest::rstest;
use serde_json::{Value, json};

use crate::service::{LENET, Part, Service, form};

fn ids(page: &Value) -> Vec<String> {
    page["data"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

impl Service {
    async fn page(&self, query: &str, after: &Value) -> Value {
        let after = after.as_str().map(|after| format!("&after={after}")).unwrap_or_default();
        let answer = self.get(&format!("/jobs?{query}{after}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        answer.json()
    }

    async fn delete(&self, id: &str) {
        let answer = self.ask(Method::DELETE, &format!("/jobs/{id}"), &[], "").await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
}

#[rstest]
#[case::newest_first("newest")]
#[case::oldest_first("oldest")]
#[tokio::test]
async fn nothing_is_shown_twice_or_left_out_while_jobs_come_and_go(#[case] order: &str) {
    let service = Service::new().await;
    let mut all = Vec::new();
    for _ in 0..7 {
        all.push(service.submitted().await.to_string());
    }
    let query = format!("limit=2&order={order}");
    let (mut seen, mut after, mut turn) = (Vec::new(), json!(null), 0);
    loop {
        let page = service.page(&query, &after).await;
        assert!(ids(&page).len() <= 2);
        seen.extend(ids(&page));
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
        turn += 1;
        // The cursor itself goes, and so does one that was not shown yet; a new one comes.
        if turn == 1 {
            service.delete(after.as_str().unwrap()).await;
            service.delete(&all[3]).await;
            service.submitted().await;
        }
    }
    let once: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(once.len(), seen.len(), "{seen:?}");
    assert!(!seen.contains(&all[3]), "it was gone before its turn came");
    let missing: Vec<_> = all.iter().filter(|id| !seen.contains(id) && **id != all[3]).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let mut sorted = seen.clone();
    sorted.sort();
    if order == "newest" {
        sorted.reverse();
        assert_eq!(seen.len(), 6, "one that came later lies before the first page");
    } else {
        assert_eq!(seen.len(), 7, "one that came later lies on the last page");
    }
    assert_eq!(seen, sorted);
}

#[tokio::test]
async fn an_upload_that_takes_long_comes_last() {
    let service = Service::new().await;
    let body = Bytes::from(form(&[Part::file("model", "late.onnx", LENET)]));
    let (first, rest) = (body.slice(..body.len() / 2), body.slice(body.len() / 2..));
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let late = futures::stream::once(async move {
        gone.await.unwrap();
        rest
    });
    let stream = futures::stream::iter([first]).chain(late).map(Ok::<_, std::io::Error>);
    let headers = [("content-type", "multipart/form-data; boundary=edge")];
    let upload = service.ask(Method::POST, "/jobs", &headers, Body::from_stream(stream));
    let meanwhile = async {
        // It has begun to write.
        while service.kept().is_empty() {
            tokio::task::yield_now().await;
        }
        let others = [service.submitted().await.to_string(), service.submitted().await.to_string()];
        let page = service.page("order=oldest&limit=1", &json!(null)).await;
        assert_eq!(ids(&page), others[..1]);
        go.send(()).unwrap();
        (others, page["next"].clone())
    };
    let (answer, (others, next)) = tokio::join!(upload, meanwhile);
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.json());
    let late = answer.json()["id"].as_str().unwrap().to_owned();
    let after = ids(&service.page("order=oldest", &next).await);
    assert_eq!(after, [others[1].clone(), late.clone()], "the walk goes on to it");
    let all = service.page("order=oldest", &json!(null)).await["data"].clone();
    let places: Vec<_> = all.as_array().unwrap().iter().map(|job| job["queue_position"].clone()).collect();
    assert_eq!(json!(places), json!([1, 2, 3]), "nobody is pushed back by it");
    let kept = service.get(&format!("/jobs/{late}/artifacts/late.onnx")).await;
    assert_eq!(kept.body, LENET, "its file came along");
    assert_eq!(service.kept().len(), 6, "three folders with a file each: {:?}", service.kept());
}

#[tokio::test]
async fn filters_go_along_with_the_cursor() {
    let service = Service::new().await;
    let mut canceled = Vec::new();
    for turn in 0..6 {
        let id = service.submitted().await.to_string();
        if turn % 2 == 0 {
            service.post(&format!("/jobs/{id}/cancel")).await;
            canceled.insert(0, id);
        }
    }
    let query = "status=canceled,failed&name=lenet5&limit=2";
    let first = service.page(query, &json!(null)).await;
    let second = service.page(query, &first["next"]).await;
    assert_eq!([ids(&first), ids(&second)].concat(), canceled);
    assert_eq!(second["next"], json!(null));
    assert_eq!(ids(&service.page("status=canceled&name=other", &json!(null)).await), [""; 0]);
    let exactly = service.page("status=canceled&limit=3", &json!(null)).await;
    assert_eq!((ids(&exactly).len(), &exactly["next"]), (3, &json!(null)), "a full last page has no next one");
}

#[rstest]
#[case("limit=0", "limit")]
#[case("limit=201", "limit")]
#[case("limit=-1", "limit")]
#[case("limit=1&limit=2", "limit")]
#[case("after=me", "after")]
#[case("order=sideways", "order")]
#[case("status=queued,lost", "status")]
#[tokio::test]
async fn bounds_of_a_page(#[case] query: &str, #[case] param: &str) {
    let service = Service::new().await;
    let refused = service.get(&format!("/jobs?{query}")).await;
    assert_eq!(refused.problem(400), "invalid_request");
    let body = refused.json();
    assert!(body["hint"].is_string(), "{body}");
    assert!(body["param"] == param || body["detail"].as_str().unwrap().contains(param), "{body}");
}

#[tokio::test]
async fn places_in_the_queue_are_those_of_each_job() {
    let service = Service::new().await;
    for priority in [0, 5, 0, -3, 5] {
        let config = json!({"priority": priority}).to_string();
        let parts = [Part::file("model", "m.onnx", LENET), Part::text("config", &config)];
        assert_eq!(service.upload("/jobs", &parts, &[]).await.status, StatusCode::ACCEPTED);
    }
    let listed = service.page("order=oldest", &json!(null)).await;
    let places: Vec<_> = listed["data"].as_array().unwrap().iter().map(|job| job["queue_position"].clone()).collect();
    assert_eq!(json!(places), json!([3, 1, 4, 5, 2]));
    for job in listed["data"].as_array().unwrap() {
        let alone = service.get(&format!("/jobs/{}", job["id"].as_str().unwrap())).await.json();
        assert_eq!(alone["queue_position"], job["queue_position"]);
    }
}

#[tokio::test]
async fn events_are_paged_too() {
    let service = Service::new().await;
    let (id, claim) = service.distilling().await;
    for number in 0..5 {
        service.keep(&claim, &format!("log-{number}.txt"), Role::Log, b"words").await;
    }
    assert!(matches!(service.house.queue.record(&claim, &Default::default()).await, Ok(Hold::GoOn)));
    let path = format!("/jobs/{id}/events");
    let all = service.get(&path).await.json();
    let count = all["data"].as_array().unwrap().len();
    assert!(count > 6 && all["next"].is_null(), "{all}");
    let (mut seen, mut after) = (Vec::new(), json!(0));
    while !after.is_null() {
        let page = service.get(&format!("{path}?limit=3&after={after}")).await.json();
        let data = page["data"].as_array().unwrap();
        assert!(!data.is_empty() && data.len() <= 3, "no empty page at the end: {page}");
        seen.extend(data.clone());
        after = page["next"].clone();
    }
    assert_eq!(json!(seen), all["data"]);
    for limit in ["0", "1001"] {
        assert_eq!(service.get(&format!("{path}?limit={limit}")).await.problem(400), "invalid_request");
    }
}

//! Lists of boxes and messages: pages, windows, filters, retention.

use reqwest::Method;
use serde_json::json;

use super::super::fixture::Platform;
use super::{boxes, ids, listed, note, now};

#[tokio::test(flavor = "multi_thread")]
async fn boxes_are_listed_with_their_counts_in_pages() {
    let platform = Platform::start().await;
    let (api, boxes) = (&platform.tenant.api, boxes(&platform));
    for number in 1..=5 {
        let data = json!({"data": {"name": format!("Box {number}"), "mailbox": number.to_string()}});
        api.put(&boxes, &data).await.expect_status(201);
    }
    let first = api.get(&format!("{boxes}?filter_mailbox=1")).await.data()[0].clone();
    let path = format!("{boxes}/{}", first["id"].as_str().unwrap());
    for folder in ["new", "new", "saved", "deleted"] {
        note(api, &path, json!({"folder": folder})).await;
    }
    let all = api.get(&format!("{boxes}?paginate=false")).await.expect_status(200).json();
    assert_eq!(all["data"].as_array().unwrap().len(), 5);
    assert!(all["page_size"].is_null() && all["next_start_key"].is_null());
    let row = all["data"].as_array().unwrap().iter().find(|row| row["mailbox"] == "1").unwrap();
    assert_eq!((&row["messages"], &row["folders"]), (&json!(3), &json!({"new": 2, "saved": 1})));

    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("{boxes}?page_size=2&start_key={next}")).await.expect_status(200).json();
        let rows = page["data"].as_array().unwrap().clone();
        assert_eq!(page["page_size"], rows.len());
        seen.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        match page["next_start_key"].as_str() {
            Some(key) => next = key.to_owned(),
            None => break,
        }
    }
    let whole: Vec<&str> = all["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(seen, whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_listed_across_months_in_pages_and_by_filter() {
    let platform = Platform::start().await;
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let day = 86_400;
    let ages = [0, 1, 20, 29, 35, 62, 90];
    let mut made = Vec::new();
    for (index, age) in ages.iter().enumerate() {
        let folder = if index % 2 == 0 { "new" } else { "saved" };
        let data =
            json!({"timestamp": now() - age * day, "folder": folder, "caller_id_number": format!("+4930{index}")});
        made.push(note(api, &mailbox, data).await);
    }
    assert!(made.iter().map(|id| &id[..6]).collect::<std::collections::HashSet<_>>().len() >= 3, "{made:?}");
    assert_eq!(listed(api, &mailbox, "").await, made, "all that is not past retention, the newest first");
    let mut oldest_first = made.clone();
    oldest_first.reverse();
    for query in ["ascending=true", "descending=false", "ascending=true&paginate=false"] {
        assert_eq!(listed(api, &mailbox, query).await, oldest_first, "{query}");
    }
    for (order, wanted) in [("", &made), ("&ascending=true", &oldest_first)] {
        for size in [1, 2, 3, 7, 50] {
            let (mut seen, mut next) = (Vec::new(), String::new());
            loop {
                let page = api
                    .get(&format!("{mailbox}/messages?page_size={size}{order}&start_key={next}"))
                    .await
                    .expect_status(200);
                seen.extend(ids(&page));
                let page = page.json();
                assert_eq!(page["start_key"], next);
                match page["next_start_key"].as_str() {
                    Some(key) => next = key.to_owned(),
                    None => break,
                }
            }
            assert_eq!(&seen, wanted, "{size}{order}");
        }
    }
    // A filter leaves no holes in pages.
    let page = api.get(&format!("{mailbox}/messages?filter_folder=saved&page_size=2")).await;
    assert_eq!(ids(&page), [made[1].clone(), made[3].clone()]);
    let next = page.json()["next_start_key"].as_str().unwrap().to_owned();
    assert_eq!(
        listed(api, &mailbox, &format!("filter_folder=saved&page_size=2&start_key={next}")).await,
        [made[5].clone()]
    );
    for (query, wanted) in [
        ("filter_caller_id_number=%2B49302", vec![2]),
        ("filter_not_folder=new", vec![1, 3, 5]),
        ("filter_folder=new&filter_caller_id_number=%2B49301", vec![]),
        ("has_key=transcription", vec![]),
        ("key_missing=transcription&filter_folder=saved", vec![1, 3, 5]),
        ("has_value=call_id&page_size=1", vec![0]),
        (&format!("created_from={}", now() - 30 * day), vec![0, 1, 2, 3]),
        (&format!("created_from={}&created_to={}", now() - 36 * day, now() - 10 * day), vec![2, 3, 4]),
        (&format!("created_to={}", now() - 61 * day), vec![5, 6]),
        (&format!("modified_to={}", now() - day), vec![]),
    ] {
        let wanted: Vec<&String> = wanted.into_iter().map(|index: usize| &made[index]).collect();
        assert_eq!(listed(api, &mailbox, query).await.iter().collect::<Vec<_>>(), wanted, "{query}");
    }
    api.get(&format!("{mailbox}/messages?created_from={}", now() - 60 * day)).await.expect_status(400);
    let all = api.get(&format!("{}/messages", boxes(&platform))).await.expect_status(200).data();
    let box_id = mailbox.rsplit('/').next().unwrap();
    let found: Vec<&str> =
        all.as_array().unwrap().iter().map(|row| row[box_id]["media_id"].as_str().unwrap()).collect();
    assert_eq!(found, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_past_retention_are_shown_as_deleted_and_refuse_changes() {
    let platform = Platform::start().await;
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let then = now() - 100 * 86_400;
    let old = note(api, &mailbox, json!({"timestamp": then})).await;
    let fresh = note(api, &mailbox, json!({})).await;
    let path = format!("{mailbox}/messages/{old}");
    let shown = api.get(&path).await.expect_status(200).data();
    assert_eq!((&shown["folder"], &shown["retention"]), (&json!("deleted"), &json!("enforced")));
    assert_eq!(listed(api, &mailbox, "").await, std::slice::from_ref(&fresh));
    let window = format!("created_from={}&created_to={}", then - 5, then + 5);
    assert_eq!(listed(api, &mailbox, &format!("{window}&filter_folder=deleted")).await, std::slice::from_ref(&old));
    for answer in [
        api.post(&path, &json!({"data": {"folder": "saved"}})).await,
        api.delete(&path).await,
        api.upload(Method::PUT, &format!("{path}/raw"), "audio/wav", "RIFF").await,
    ] {
        let data = answer.expect_status(400).data();
        assert_eq!(data["message"]["date_range"]["cause"], old.as_str());
    }
    let bulk = json!({"data": {"messages": [old, fresh], "folder": "deleted"}});
    let done = api.post(&format!("{mailbox}/messages"), &bulk).await.expect_status(200).data();
    assert_eq!(done, json!({"succeeded": [fresh], "failed": [{&old: "prior_to_retention_duration"}]}));
    let row = api.get(&boxes(&platform)).await.data()[0].clone();
    assert_eq!(row["folders"], json!({"new": 0, "saved": 0}), "what is past retention does not count");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accounts_own_retention_counts_instead_of_the_systems() {
    let platform = Platform::start().await;
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let old = note(api, &mailbox, json!({"timestamp": now() - 100 * 86_400})).await;
    let young = note(api, &mailbox, json!({"timestamp": now() - 3 * 86_400})).await;
    let keep = async |days: u32| {
        let plan = json!({"modb": {"types": {"mailbox_message": {"retention_days": days}}}});
        let said = json!({"data": {"plan": plan}});
        if api.patch(&platform.storage(), &said).await.status == 404 {
            api.put(&platform.storage(), &said).await.expect_status(201);
        }
    };
    let retention = async |id: &str| api.get(&format!("{mailbox}/messages/{id}")).await.data()["retention"].clone();
    assert_eq!((retention(&old).await, listed(api, &mailbox, "").await.len()), (json!("enforced"), 1));
    keep(200).await;
    assert_eq!((retention(&old).await, listed(api, &mailbox, "").await.len()), (json!(null), 2));
    api.post(&format!("{mailbox}/messages/{old}"), &json!({"data": {"folder": "saved"}})).await.expect_status(200);
    keep(2).await;
    assert_eq!((retention(&young).await, listed(api, &mailbox, "").await.len()), (json!("enforced"), 0));
    api.delete(&format!("{mailbox}/messages/{young}")).await.expect_status(400);
    keep(0).await;
    assert_eq!((retention(&old).await, retention(&young).await), (json!("enforced"), json!(null)));
}

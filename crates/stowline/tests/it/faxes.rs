//! Received faxes over the API: to list, to read, to delete.

use reqwest::Method;
use serde_json::{Value, json};
use stowline::app::faxes::{self, Fax, Sent};

use super::fixture::{bucket, until};
use super::inside::{EPOCH, Inside, followed, now, object, whole};

async fn fax(inside: &Inside, said: Value, content_type: &str, pages: &'static [u8]) -> Fax {
    let owner = said["owner_id"].as_str().map(str::to_owned);
    let sent = Sent { content_type, file_name: None, limit: 1 << 20 };
    let pages = faxes::receive(inside.app(), &inside.account, owner.as_deref(), sent, whole(pages)).await.unwrap();
    faxes::create(inside.app(), &inside.account, object(said), pages).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn received_faxes_are_listed_read_and_deleted_by_those_whose_they_are() {
    let inside = Inside::start().await;
    let ((pat, pat_id), (kim, kim_id)) = (inside.user("pat").await, inside.user("kim").await);
    let theirs = fax(
        &inside,
        json!({"from_number": "+14155550100", "owner_id": pat_id, "timestamp": now() - 60}),
        "application/pdf",
        b"%PDF-1.7",
    )
    .await;
    let nobodys = fax(&inside, json!({"from_number": "+14155550101"}), "image/tiff", b"II*\0").await;
    let inbox = inside.path("faxes/inbox");
    let ids = |answer: testkit::Answer| -> Vec<String> {
        answer
            .expect_status(200)
            .data()
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let (first, second) = (theirs.id.to_string(), nobodys.id.to_string());
    assert_eq!(ids(inside.api.get(&inbox).await), [second.clone(), first.clone()]);
    assert_eq!(ids(inside.api.get(&inside.path("faxes/incoming")).await).len(), 2);
    assert_eq!(
        ids(inside.api.get(&format!("{inbox}?filter_from_number=%2B14155550101")).await),
        std::slice::from_ref(&second)
    );
    for path in [inbox.clone(), inside.path(&format!("users/{pat_id}/faxes/inbox"))] {
        assert_eq!(ids(pat.get(&path).await), std::slice::from_ref(&first), "{path}");
    }
    pat.get(&inside.path(&format!("users/{kim_id}/faxes/inbox"))).await.expect_status(403);
    let path = format!("{inbox}/{first}");
    let shown = pat.get(&path).await.expect_status(200);
    for (key, wanted) in [
        ("folder", json!("inbox")),
        ("source_type", json!("incoming_fax")),
        ("media_type", json!("pdf")),
        ("pvt_size", Value::Null),
    ] {
        assert_eq!(shown.data()[key], wanted, "{key}");
    }
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::GET, format!("{path}/attachment")),
        (Method::DELETE, path.clone()),
        (Method::DELETE, format!("{path}/attachment")),
    ] {
        kim.send(kim.request(method.clone(), &path)).await.expect_status(403);
        kim.send(kim.anonymous().request(method, &path)).await.expect_status(401);
    }
    for id in ["x", "202611-0f6d2a7be1c94c5c8d10b7a2f3e4c5d6"] {
        inside.api.get(&format!("{inbox}/{id}")).await.expect_status(404);
        inside.api.get(&format!("{inbox}/{id}/attachment")).await.expect_status(404);
    }
    let gone = pat.delete(&path).await.expect_status(200).data();
    assert_eq!(gone["_read_only"]["deleted"], true);
    inside.api.get(&path).await.expect_status(404);
    assert_eq!(ids(inside.api.get(&inbox).await), [second]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_fax_are_read_and_removed_alone() {
    let inside = Inside::start().await;
    let zone = json!({"data": {"timezone": "Asia/Tokyo"}});
    inside.master.patch(&format!("/v2/accounts/{}", inside.account.id), &zone).await.expect_status(200);
    let (server, settings) = bucket();
    inside.route("fax", settings, json!({"delete": true})).await;
    // 2026-11-23T14:26:35Z
    let said = json!({"timestamp": EPOCH + 1_795_443_995, "fax_timezone": "Europe/Berlin"});
    let fax = fax(&inside, said, "image/tiff", b"II*\0pages").await;
    inside.until_delivered().await;
    assert_eq!(server.objects("recordings").len(), 1);
    let path = inside.path(&format!("faxes/inbox/{}", fax.id));
    let pages = inside.api.get(&format!("{path}/attachment")).await.expect_status(200);
    assert_eq!((&pages.body[..], pages.header("content-type")), (&b"II*\0pages"[..], Some("image/tiff")));
    assert_eq!(pages.header("content-disposition"), Some("attachment; filename=fax_document_2026-11-23_15-26-35.tiff"));
    let inline = inside.api.get(&format!("{path}/attachment?disposition=inline")).await;
    assert!(inline.header("content-disposition").unwrap().starts_with("inline; filename=fax_document_"));
    let part = inside.api.request(Method::GET, &format!("{path}/attachment")).header("range", "bytes=0-1");
    assert_eq!(&inside.api.send(part).await.expect_status(206).body[..], b"II");

    inside.api.delete(&format!("{path}/attachment")).await.expect_status(200);
    for gone in
        [inside.api.get(&format!("{path}/attachment")).await, inside.api.delete(&format!("{path}/attachment")).await]
    {
        gone.expect_status(404);
    }
    inside.api.get(&path).await.expect_status(200);
    until("the object is gone", async || server.objects("recordings").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_pages_is_sent_to_the_bucket_where_its_settings_say_so() {
    let inside = Inside::start().await;
    let (_server, mut settings) = bucket();
    settings["redirect_reads"] = true.into();
    inside.route("fax", settings, json!({})).await;
    let fax = fax(
        &inside,
        json!({"timestamp": EPOCH + 1_795_443_995, "fax_timezone": "Europe/Berlin"}),
        "image/tiff",
        b"II*\0",
    )
    .await;
    inside.until_delivered().await;
    let path = inside.path(&format!("faxes/inbox/{}/attachment", fax.id));
    for (query, kind) in [("", "attachment"), ("?disposition=inline", "inline")] {
        let pages = followed(&inside.api.get(&format!("{path}{query}")).await).await;
        assert_eq!(pages.headers()["content-type"], "image/tiff");
        let name = format!("{kind}; filename=fax_document_2026-11-23_15-26-35.tiff");
        assert_eq!(pages.headers()["content-disposition"], name.as_str());
        assert_eq!(&pages.bytes().await.unwrap()[..], b"II*\0");
    }
    inside.api.anonymous().get(&path).await.expect_status(401);
}

//! Recordings over the API: lists, the document and the audio of one, deletion, and who may.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Answer, Api, VOICEMAIL_WAV};

use super::inside::{DAY, Inside, followed, now};

mod removal;

fn ids(answer: &Answer) -> Vec<String> {
    answer.data().as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

async fn listed(api: &Api, path: &str, query: &str) -> Vec<String> {
    ids(&api.get(&format!("{path}?{query}")).await.expect_status(200))
}

async fn with(api: &Api, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = api.request(Method::GET, path);
    api.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

/// All pages of a list, one after the other.
async fn paged(api: &Api, path: &str, query: &str, size: usize) -> Vec<String> {
    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let answer = api.get(&format!("{path}?page_size={size}&{query}&start_key={next}")).await.expect_status(200);
        let page = ids(&answer);
        let answer = answer.json();
        assert_eq!((&answer["page_size"], &answer["start_key"]), (&json!(page.len()), &json!(next)));
        assert!(page.len() <= size);
        seen.extend(page);
        match answer["next_start_key"].as_str() {
            Some(key) => next = key.to_owned(),
            None => return seen,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_are_listed_as_whole_documents_by_start_over_months() {
    let inside = Inside::with("[api]\nmaximum_range = \"9600h\"").await;
    let (api, path) = (&inside.api, inside.path("recordings"));
    let (_, owner) = inside.user("pat").await;
    let ages = [0, 1, 20, 29, 35, 62, 90, 200];
    let mut made = Vec::new();
    // They come in another order than they began in.
    for index in [3, 0, 7, 1, 6, 2, 5, 4] {
        let mut said = json!({"start": now() - ages[index] * DAY, "direction": if index % 2 == 0 { "inbound" } else { "outbound" },
            "caller_id_number": format!("+4930{index}"), "custom_channel_vars": {"queue": {"name": "support"}}});
        if index % 3 == 0 {
            said["owner_id"] = owner.as_str().into();
        }
        made.push((index, inside.recording(said, "audio/mpeg", b"ID3").await.id.to_string()));
    }
    made.sort_by_key(|(index, _)| *index);
    let made: Vec<String> = made.into_iter().map(|(_, id)| id).collect();
    assert!(made.iter().map(|id| &id[..6]).collect::<std::collections::HashSet<_>>().len() >= 5, "{made:?}");
    assert_eq!(listed(api, &path, "").await, made, "the latest first");
    let mut oldest_first = made.clone();
    oldest_first.reverse();
    assert_eq!(listed(api, &path, "ascending=true&paginate=false").await, oldest_first);
    for size in [1, 2, 3, 8, 50] {
        assert_eq!(paged(api, &path, "", size).await, made, "{size}");
        assert_eq!(paged(api, &path, "ascending=true", size).await, oldest_first, "{size}");
    }
    for (query, wanted) in [
        ("filter_direction=inbound".to_owned(), vec![0, 2, 4, 6]),
        ("filter_not_direction=inbound&filter_caller_id_number=%2B49303".into(), vec![3]),
        ("filter_custom_channel_vars.queue.name=support&has_key=owner_id".into(), vec![0, 3, 6]),
        ("key_missing=owner_id&filter_direction=outbound".into(), vec![1, 5, 7]),
        ("filter_direction=sideways".into(), vec![]),
        (format!("created_from={}", now() - 30 * DAY), vec![0, 1, 2, 3]),
        (format!("created_from={}&created_to={}", now() - 100 * DAY, now() - 25 * DAY), vec![3, 4, 5, 6]),
    ] {
        let wanted: Vec<&String> = wanted.into_iter().map(|index: usize| &made[index]).collect();
        assert_eq!(listed(api, &path, &query).await.iter().collect::<Vec<_>>(), wanted, "{query}");
    }
    let own: Vec<&String> = [0, 3, 6].into_iter().map(|index: usize| &made[index]).collect();
    let users = inside.path(&format!("users/{owner}/recordings"));
    assert_eq!(listed(api, &users, "").await.iter().collect::<Vec<_>>(), own, "the user's");
    assert_eq!(paged(api, &users, "", 2).await.iter().collect::<Vec<_>>(), own);
    let row = api.get(&format!("{path}?page_size=1")).await.data()[0].clone();
    assert_eq!(row, api.get(&format!("{path}/{}", made[0])).await.expect_status(200).data());
    assert_eq!(row["_read_only"]["content_types"], json!(["audio/mpeg"]));
    assert!(row.as_object().unwrap().keys().all(|key| !key.starts_with("pvt_")), "{row}");
    for (query, field) in
        [("created_from=x", "created_from"), ("created_from=5", "created_from"), ("start_key=x", "start_key")]
    {
        let refused = api.get(&format!("{path}?{query}")).await.expect_status(400).data();
        assert!(refused[field].is_object(), "{query}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_window_the_list_is_of_the_last_month() {
    let inside = Inside::start().await;
    let recent = inside.recording(json!({"start": now() - 30 * DAY}), "audio/wav", b"RIFF").await.id.to_string();
    let old = inside.recording(json!({"start": now() - 32 * DAY}), "audio/wav", b"RIFF").await.id.to_string();
    let (api, path) = (&inside.api, inside.path("recordings"));
    assert_eq!(listed(api, &path, "").await, [recent]);
    assert_eq!(listed(api, &path, &format!("created_to={}", now() - 31 * DAY)).await, std::slice::from_ref(&old));
    api.get(&format!("{path}/{old}")).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_read_as_what_the_client_accepts() {
    let inside = Inside::start().await;
    let wav = inside.recording(json!({}), "audio/x-wav", VOICEMAIL_WAV).await;
    let path = inside.path(&format!("recordings/{}", wav.id));
    for accept in
        ["", "*/*", "application/json", "application/*", "text/html, */*;q=0.8", "audio/mpeg, application/json;q=0.1"]
    {
        let answer = with(&inside.api, &path, &[("accept", accept)]).await.expect_status(200);
        assert_eq!(answer.data()["id"], wav.id.as_ref(), "{accept}");
        assert_eq!(answer.header("vary"), Some("accept"));
    }
    for accept in [
        "audio/wav",
        "audio/x-wav",
        "audio/*",
        "application/json;q=0.2, audio/wav;q=0.3",
        "audio/mpeg, audio/wav;q=0.1",
    ] {
        let answer = with(&inside.api, &path, &[("accept", accept)]).await.expect_status(200);
        assert!(answer.body == VOICEMAIL_WAV, "{accept}");
        assert_eq!(answer.header("content-type"), Some("audio/x-wav"), "as it is stored");
    }
    // The query wins over the header.
    for (query, audio) in
        [("audio/wav", true), ("wav", true), ("application/json", false), ("audio/wav;q=0.1,application/json", false)]
    {
        let answer = with(&inside.api, &format!("{path}?accept={query}"), &[("accept", "text/plain")]).await;
        assert_eq!(answer.expect_status(200).body == VOICEMAIL_WAV, audio, "{query}");
    }
    for accept in ["audio/mpeg", "image/png", "audio/ogg, video/*", "application/json;q=0"] {
        let refused = with(&inside.api, &path, &[("accept", accept)]).await.expect_status(406).json();
        assert_eq!((&refused["error"], &refused["message"]), (&json!("406"), &json!("not_acceptable")), "{accept}");
    }
    for (content_type, accept) in [
        ("audio/mpeg", "audio/mp3"),
        ("audio/mp3", "audio/mpeg"),
        ("audio/ogg", "audio/ogg"),
        ("video/mp4", "audio/mp4"),
        ("video/mp4", "video/mp4"),
    ] {
        let recording = inside.recording(json!({}), content_type, b"sound").await;
        let path = inside.path(&format!("recordings/{}", recording.id));
        let answer = with(&inside.api, &path, &[("accept", accept)]).await.expect_status(200);
        assert_eq!((&answer.body[..], answer.header("content-type")), (&b"sound"[..], Some(content_type)));
    }
    // The document and the audio have tags of their own.
    let (document, audio) =
        (with(&inside.api, &path, &[]).await, with(&inside.api, &path, &[("accept", "audio/wav")]).await);
    let (of_document, of_audio) = (document.header("etag").unwrap(), audio.header("etag").unwrap());
    assert_ne!(of_document, of_audio);
    with(&inside.api, &path, &[("if-none-match", of_document)]).await.expect_status(304);
    with(&inside.api, &path, &[("if-none-match", of_audio)]).await.expect_status(200);
    with(&inside.api, &path, &[("if-none-match", of_audio), ("accept", "audio/wav")]).await.expect_status(304);
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_is_served_inline_or_as_a_file_whole_and_in_ranges() {
    let inside = Inside::start().await;
    let (_server, settings) = super::fixture::bucket();
    let total = VOICEMAIL_WAV.len();
    for remote in [false, true] {
        if remote {
            inside.route("call_recording", settings.clone(), json!({})).await;
        }
        let recording = inside.recording(json!({"name": "call 7.wav"}), "audio/wav", VOICEMAIL_WAV).await;
        inside.until_delivered().await;
        let path = inside.path(&format!("recordings/{}", recording.id));
        let wav = ("accept", "audio/wav");
        for (query, kind) in [("", "attachment"), ("?inline=true", "inline"), ("?inline=false", "attachment")] {
            let answer = with(&inside.api, &format!("{path}{query}"), &[wav]).await.expect_status(200);
            let wanted = format!("{kind}; filename={}.wav", recording.id);
            assert_eq!(answer.header("content-disposition"), Some(wanted.as_str()));
            assert!(answer.body == VOICEMAIL_WAV && answer.header("accept-ranges") == Some("bytes"));
            assert_eq!(answer.header("content-length"), Some(total.to_string().as_str()));
        }
        for (range, first, last) in
            [("bytes=0-3", 0, 3), ("bytes=100-", 100, total - 1), ("bytes=-10", total - 10, total - 1)]
        {
            let part = with(&inside.api, &path, &[wav, ("range", range)]).await.expect_status(206);
            assert_eq!(part.header("content-range"), Some(format!("bytes {first}-{last}/{total}").as_str()));
            assert!(part.body == VOICEMAIL_WAV[first..=last], "{range}");
        }
        let refused = with(&inside.api, &path, &[wav, ("range", "bytes=999999999-")]).await.expect_status(416);
        assert_eq!(refused.header("content-range"), Some(format!("bytes */{total}").as_str()));
        let head = inside.api.request(Method::HEAD, &path).header("accept", "audio/wav");
        let head = inside.api.send(head).await.expect_status(200);
        assert_eq!((head.header("content-length"), head.body.len()), (Some(total.to_string().as_str()), 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_without_audio_has_only_its_document() {
    let inside = Inside::start().await;
    let said = super::inside::object(json!({"url": "local_stream://here"}));
    let made = stowline::app::recordings::create(inside.app(), &inside.account, said, None).await.unwrap();
    let path = inside.path(&format!("recordings/{}", made.id));
    assert_eq!(inside.api.get(&path).await.expect_status(200).data()["_read_only"]["content_types"], json!([]));
    with(&inside.api, &path, &[("accept", "audio/wav")]).await.expect_status(406);
    inside.api.delete(&path).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_another_form_or_of_nothing_is_a_bad_identifier() {
    let inside = Inside::start().await;
    let message = {
        let boxes = inside.path("vmboxes");
        let made = inside.api.put(&boxes, &json!({"data": {"name": "x", "mailbox": "1"}})).await.expect_status(201);
        let path = format!("{boxes}/{}/messages", made.data()["id"].as_str().unwrap());
        inside.api.put(&path, &json!({"data": {}})).await.expect_status(201).data()["media_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let hex = "0f6d2a7be1c94c5c8d10b7a2f3e4c5d6";
    for id in [
        hex.to_owned(),
        format!("202611-{hex}"),
        format!("202613-{hex}"),
        format!("2026-11-{hex}"),
        "x".into(),
        message,
    ] {
        for method in [Method::GET, Method::DELETE, Method::PATCH] {
            let path = inside.path(&format!("recordings/{id}"));
            let answer =
                inside.api.json(method, &path, &json!({"data": {"user_metadata": {}}})).await.expect_status(404);
            let answer = answer.json();
            assert_eq!((&answer["message"], &answer["data"]["cause"]), (&json!("bad_identifier"), &json!(id)));
        }
    }
    for method in [Method::PUT, Method::POST] {
        inside.api.json(method, &inside.path("recordings"), &json!({"data": {}})).await.expect_status(405);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_account_remembers_of_a_recording_is_patched_and_nothing_else() {
    let inside = Inside::start().await;
    let (server, settings) = super::fixture::bucket();
    inside.route("call_recording", settings, json!({})).await;
    server.stop();
    let recording = inside.recording(json!({"origin": "a rule"}), "audio/wav", VOICEMAIL_WAV).await;
    let path = inside.path(&format!("recordings/{}", recording.id));
    let patch = async |metadata: Value| inside.api.patch(&path, &json!({"data": {"user_metadata": metadata}})).await;
    let first = patch(json!({"case": "7", "tags": {"mood": "good", "by": "Dana"}})).await.expect_status(200);
    assert_eq!(first.data()["user_metadata"]["tags"], json!({"mood": "good", "by": "Dana"}));
    let second = patch(json!({"case": null, "tags": {"mood": "bad"}, "n": 1})).await.expect_status(200).data();
    assert_eq!(second["user_metadata"], json!({"tags": {"mood": "bad", "by": "Dana"}, "n": 1}));
    assert_eq!(second["origin"], "a rule");
    for (data, field, code) in [
        (json!({}), "user_metadata", "required"),
        (json!({"user_metadata": "x"}), "user_metadata", "type"),
        (json!({"user_metadata": []}), "user_metadata", "type"),
        (json!({"user_metadata": {}, "origin": "other"}), "origin", "forbidden"),
        (json!({"pvt_type": "x"}), "pvt_type", "forbidden"),
        (json!({"user_metadata": {"x": "y".repeat(70_000)}}), "user_metadata", "maxLength"),
    ] {
        let refused = inside.api.patch(&path, &json!({"data": data})).await.expect_status(400).data();
        assert!(refused[field][code]["message"].is_string(), "{field}: {refused}");
    }
    assert_eq!(inside.api.get(&path).await.data(), second, "nothing was written");
    let stale = inside.api.request(Method::PATCH, &path).header("if-match", first.header("etag").unwrap());
    let stale = stale.header("content-type", "application/json").body(r#"{"data": {"user_metadata": {"x": 1}}}"#);
    inside.api.send(stale).await.expect_status(412);
    // The audio was on its way meanwhile, and arrives.
    server.restart();
    inside.until_delivered().await;
    assert_eq!(server.objects("recordings").len(), 1);
    assert_eq!(inside.api.get(&path).await.data()["user_metadata"], second["user_metadata"]);
    assert_eq!(patch(Value::Null).await.expect_status(200).data()["user_metadata"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_admin_sees_only_their_own_recordings() {
    let inside = Inside::start().await;
    let ((pat, pat_id), (kim, kim_id)) = (inside.user("pat").await, inside.user("kim").await);
    let of = async |said: Value| inside.recording(said, "audio/wav", VOICEMAIL_WAV).await.id.to_string();
    let (pats, kims, nobodys) =
        (of(json!({"owner_id": pat_id})).await, of(json!({"owner_id": kim_id})).await, of(json!({})).await);
    let path = inside.path("recordings");
    let below = |user: &str| inside.path(&format!("users/{user}/recordings"));
    assert_eq!(listed(&pat, &path, "").await, std::slice::from_ref(&pats));
    assert_eq!(listed(&pat, &below(&pat_id), "").await, std::slice::from_ref(&pats));
    assert_eq!(listed(&kim, &path, "").await, std::slice::from_ref(&kims));
    pat.get(&below(&kim_id)).await.expect_status(403);
    pat.get(&below("nobody")).await.expect_status(403);
    inside.api.get(&below("nobody")).await.expect_status(404);
    for (id, status) in [(&pats, 200), (&kims, 403), (&nobodys, 403)] {
        for path in [format!("{path}/{id}"), format!("{}/{id}", below(&pat_id))] {
            pat.get(&path).await.expect_status(status);
            with(&pat, &path, &[("accept", "audio/wav")]).await.expect_status(status);
            pat.patch(&path, &json!({"data": {"user_metadata": {"a": 1}}})).await.expect_status(status);
        }
    }
    pat.delete(&format!("{path}/{kims}")).await.expect_status(403);
    pat.delete(&format!("{path}/{pats}")).await.expect_status(200);
    // An admin reaches all, but under a user only the user's; from above they do too, a stranger nothing.
    inside.api.get(&format!("{}/{nobodys}", below(&kim_id))).await.expect_status(403);
    inside.api.get(&format!("{}/{kims}", below(&kim_id))).await.expect_status(200);
    assert_eq!(listed(&inside.master, &path, "").await.len(), 2);
    let anonymous = inside.api.anonymous();
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        anonymous.send(anonymous.request(method.clone(), &format!("{path}/{kims}"))).await.expect_status(401);
        anonymous.send(anonymous.request(method, &format!("{path}/nothing"))).await.expect_status(401);
    }
    let other = inside.master.put("/v2/accounts", &json!({"data": {"name": "Other"}})).await.expect_status(201);
    let theirs = format!("/v2/accounts/{}/recordings", other.data()["id"].as_str().unwrap());
    inside.api.get(&theirs).await.expect_status(403);
    inside.master.get(&format!("{theirs}/{kims}")).await.expect_status(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_is_sent_to_the_bucket_where_its_settings_say_so() {
    let inside = Inside::start().await;
    let (_server, mut settings) = super::fixture::bucket();
    settings["redirect_reads"] = true.into();
    inside.route("call_recording", settings, json!({})).await;
    let recording = inside.recording(json!({"name": "call 7.wav"}), "audio/wav", VOICEMAIL_WAV).await;
    inside.until_delivered().await;
    let path = inside.path(&format!("recordings/{}", recording.id));
    for (query, kind) in [("", "attachment"), ("?inline=true", "inline")] {
        let sent = with(&inside.api, &format!("{path}{query}"), &[("accept", "audio/wav")]).await;
        let audio = followed(&sent).await;
        assert_eq!(audio.headers()["content-type"], "audio/wav");
        assert_eq!(audio.headers()["content-disposition"], format!("{kind}; filename={}.wav", recording.id).as_str());
        assert!(audio.bytes().await.unwrap() == VOICEMAIL_WAV);
    }
    // The document itself comes from here.
    assert_eq!(inside.api.get(&path).await.expect_status(200).data()["id"], recording.id.as_ref());
    with(&inside.api.anonymous(), &path, &[("accept", "audio/wav")]).await.expect_status(401);
}

//! Windows of time over several months.

use serde_json::json;

use super::super::inside::{DAY, Inside, now};
use super::{EPOCH, ids};

#[tokio::test(flavor = "multi_thread")]
async fn a_window_walks_the_months_that_it_touches() {
    let inside = Inside::with("[api]\nmaximum_range = \"9600h\"").await;
    let ages = [0, 3, 29, 31, 61, 95, 150, 399, 420];
    let mut made = Vec::new();
    for (index, age) in ages.iter().enumerate() {
        let leg = json!({"call_id": format!("c{index}"), "timestamp": now() - age * DAY, "duration_seconds": index, "hangup_cause": if index % 2 == 0 { "A" } else { "B" }});
        made.push(inside.leg(leg).await.leg.id.to_string());
    }
    assert!(made.iter().map(|id| &id[..6]).collect::<std::collections::HashSet<_>>().len() >= 6, "{made:?}");
    let path = inside.path("cdrs");
    assert_eq!(ids(&inside.api, &path).await, made[..8], "as far back as a window may reach");
    for size in [1, 3, 8] {
        for order in ["", "&ascending=true"] {
            let (mut seen, mut next) = (Vec::new(), String::new());
            loop {
                let page = inside
                    .api
                    .get(&format!("{path}?page_size={size}{order}&start_key={next}"))
                    .await
                    .expect_status(200);
                seen.extend(super::column(&page, "id"));
                match page.json()["next_start_key"].as_str() {
                    Some(key) => next = key.to_owned(),
                    None => break,
                }
            }
            if !order.is_empty() {
                seen.reverse();
            }
            assert_eq!(seen, made[..8], "{size}{order}");
        }
    }
    for (query, wanted) in [
        (format!("created_from={}&created_to={}", now() - 100 * DAY, now() - 30 * DAY), &made[3..6]),
        (format!("created_from={}&created_to={}", now() - 410 * DAY, now() - 140 * DAY), &made[6..8]),
        (format!("created_to={}", now() - 410 * DAY), &made[8..9]),
        (format!("created_from={}&created_to={}", now() - 2 * DAY, now() - DAY), &[]),
    ] {
        assert_eq!(ids(&inside.api, &format!("{path}?{query}")).await, wanted, "{query}");
    }
    assert_eq!(ids(&inside.api, &format!("{path}?filter_hangup_cause=B")).await.len(), 4);
    let wide = format!("created_from={}&created_to={}", now() - 420 * DAY, now());
    let refused = inside.api.get(&format!("{path}?{wide}")).await.expect_status(400).data();
    assert!(refused["created_from"]["date_range"]["message"].is_string(), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leg_that_began_after_its_calls_month_is_in_every_window_that_it_belongs_to() {
    let inside = Inside::start().await;
    // The call began two seconds before November, its second leg ten seconds later.
    let november = EPOCH + 1_793_491_200;
    let interaction = format!("{}-9c2e", november - 2);
    inside
        .leg(json!({"call_id": "a", "interaction_id": interaction, "timestamp": november + 60, "duration_seconds": 62}))
        .await;
    inside
        .leg(json!({"call_id": "b", "interaction_id": interaction, "timestamp": november + 60, "duration_seconds": 52}))
        .await;
    inside.leg(json!({"call_id": "c", "timestamp": november + 5})).await;
    let path = inside.path("cdrs");
    let around = format!("created_from={}&created_to={}", november - DAY, november + DAY);
    let wanted = ["202611-c", "202610-b", "202610-a"];
    assert_eq!(ids(&inside.api, &format!("{path}?{around}")).await, wanted);
    for size in 1..4 {
        let (mut seen, mut next) = (Vec::new(), String::new());
        loop {
            let page = inside.api.get(&format!("{path}?{around}&page_size={size}&start_key={next}")).await;
            seen.extend(super::column(&page, "id"));
            match page.json()["next_start_key"].as_str() {
                Some(key) => next = key.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, wanted, "{size}");
    }
}

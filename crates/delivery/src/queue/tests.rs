use super::*;

fn queue() -> Queue {
    let mut queue = Queue::default();
    queue.set_policy(Policy { concurrency_per_lane: 2, patience: 3, ..Policy::default() }, 0);
    queue
}

fn add(queue: &mut Queue, key: &str, lane: &str) -> u64 {
    let id = queue.allot(1);
    queue.reserve(id, key, lane);
    assert!(queue.confirm(id, 0, 0));
    id
}

fn take_all(queue: &mut Queue, now: u64) -> Vec<u64> {
    std::iter::from_fn(|| queue.take(now)).collect()
}

#[test]
fn an_entry_is_small() {
    assert!(size_of::<(u64, Entry)>() <= 40, "{}", size_of::<(u64, Entry)>());
}

#[test]
fn lanes_take_turns() {
    let mut queue = queue();
    let loud: Vec<u64> = (0..5).map(|n| add(&mut queue, &format!("l{n}"), "loud")).collect();
    let quiet = add(&mut queue, "q", "quiet");
    assert_eq!(take_all(&mut queue, 0), [loud[0], quiet, loud[1]]);
    queue.settle(loud[0], 0);
    assert_eq!(take_all(&mut queue, 0), [loud[2]]);
}

#[test]
fn a_key_runs_one_at_a_time_in_order_of_confirmation() {
    let mut queue = queue();
    let first = queue.allot(1);
    queue.reserve(first, "k", "a");
    let second = add(&mut queue, "k", "b");
    assert!(queue.confirm(first, 0, 0));
    assert_eq!(take_all(&mut queue, 0), [second]);
    queue.park(second, 0);
    assert_eq!(take_all(&mut queue, 0), [], "a parked job holds up its key");
    queue.remove(second, 0);
    assert_eq!(take_all(&mut queue, 0), [first]);
    assert!(!queue.confirm(first, 0, 0), "confirming twice does nothing");
}

#[test]
fn a_job_in_the_middle_of_its_chain_can_go() {
    let mut queue = queue();
    let ids: Vec<u64> = (0..4).map(|_| add(&mut queue, "k", "a")).collect();
    queue.remove(ids[1], 0);
    queue.remove(ids[3], 0);
    assert_eq!(take_all(&mut queue, 0), [ids[0]]);
    queue.settle(ids[0], 0);
    assert_eq!(take_all(&mut queue, 0), [ids[2]]);
    let last = add(&mut queue, "k", "a");
    queue.settle(ids[2], 0);
    assert_eq!(take_all(&mut queue, 0), [last], "who comes after the last one went stands behind the one before it");
    queue.settle(last, 0);
    assert_eq!((queue.chains.len(), queue.counts()), (0, Counts::default()));
    assert_eq!(queue.lane_statuses(), []);
}

#[test]
fn a_broken_lane_is_probed_by_one_job_at_a_time() {
    let mut queue = queue();
    for n in 0..9 {
        add(&mut queue, &n.to_string(), "a");
    }
    let fail = |queue: &mut Queue, id, now| queue.postpone(id, now + 1_000_000, None, 1.0, now);
    let straggler = take_all(&mut queue, 0);
    assert_eq!(straggler.len(), 2);
    fail(&mut queue, straggler[0], 0);
    assert_eq!(take_all(&mut queue, 0), [], "one at a time after a failure, and one runs");
    queue.release(straggler[1], 1_000_000, 0);
    for _ in 0..2 {
        let taken = take_all(&mut queue, 0);
        assert_eq!(taken.len(), 1);
        fail(&mut queue, taken[0], 0);
    }
    assert!(queue.lane_statuses()[0].broken);
    assert_eq!(queue.lane_statuses()[0].failures, 3);
    assert_eq!(take_all(&mut queue, 1999), []);
    assert_eq!(queue.next_alarm(), Some(2000));
    let probe = take_all(&mut queue, 2000);
    assert_eq!(probe.len(), 1);
    fail(&mut queue, probe[0], 2000);
    assert_eq!(take_all(&mut queue, 5999), [], "the second wait is twice the first");
    let probe = take_all(&mut queue, 6000);
    assert_eq!(probe.len(), 1);
    queue.settle(probe[0], 6000);
    assert_eq!(take_all(&mut queue, 6000).len(), 2, "a success mends the lane");
}

#[test]
fn who_had_started_before_a_lane_broke_does_not_break_it_further() {
    let mut queue = Queue::default();
    queue.set_policy(Policy { patience: 3, ..Policy::default() }, 0);
    for n in 0..4 {
        add(&mut queue, &n.to_string(), "a");
    }
    let taken = take_all(&mut queue, 0);
    assert_eq!(taken.len(), 4);
    taken.iter().for_each(|&id| queue.postpone(id, 1_000_000, None, 1.0, 0));
    assert_eq!(queue.lane_statuses()[0].failures, 3, "the straggler did not count");
}

#[test]
fn a_lane_begins_with_little_and_is_allowed_more_as_it_proves_well() {
    let mut queue = Queue::default();
    queue.set_policy(Policy { concurrency: 100, concurrency_per_lane: 6, patience: 9, ..Policy::default() }, 0);
    for n in 0..40 {
        add(&mut queue, &n.to_string(), "a");
    }
    let mut running = take_all(&mut queue, 0);
    assert_eq!(running.len(), 4, "nothing is known of it");
    // Each that is done makes room for itself and for one more, up to the most.
    for now_running in [5, 6, 6, 6] {
        queue.settle(running.remove(0), 0);
        running.extend(take_all(&mut queue, 0));
        assert_eq!(running.len(), now_running);
    }
    queue.postpone(running.remove(0), 1_000_000, None, 1.0, 0);
    assert_eq!(take_all(&mut queue, 0), [], "half of six, and five run");
    for left in [4, 3, 2] {
        queue.release(running.remove(0), 1_000_000, 0);
        assert_eq!(running.len(), left);
    }
    assert_eq!(take_all(&mut queue, 0).len(), 1, "what was given back is no failure");
}

#[test]
fn a_tenant_that_hangs_leaves_room_for_others() {
    let mut queue = Queue::default();
    queue.set_policy(Policy { concurrency: 12, concurrency_per_lane: 12, ..Policy::default() }, 0);
    for n in 0..90 {
        add(&mut queue, &n.to_string(), &format!("dead/{}", n % 9));
    }
    let dead = take_all(&mut queue, 0);
    assert_eq!(dead.len(), 6, "of all its lanes together as many as are left");
    let well: Vec<u64> = (100..110).map(|n| add(&mut queue, &n.to_string(), &format!("well/{n}"))).collect();
    assert_eq!(take_all(&mut queue, 0), well[..3], "a second one shares what is left");
    let last = add(&mut queue, "200", "late/0");
    assert_eq!(take_all(&mut queue, 0), [last]);
    queue.settle(well[0], 0);
    assert_eq!(take_all(&mut queue, 0), [well[3]], "who lacked a budget has its turn when another job ends");
    queue.settle(last, 0);
    queue.remove(dead[0], 0);
    // Four are free now: more than run of the second, fewer than run of the first.
    assert_eq!(take_all(&mut queue, 0), [well[4]]);
}

#[test]
fn making_due_wakes_what_waits_and_lets_a_broken_lane_be_probed() {
    let mut queue = queue();
    let ids: Vec<u64> = (0..4).map(|n| add(&mut queue, &n.to_string(), "acc/s3")).collect();
    let mut tried = take_all(&mut queue, 0);
    while let Some(id) = tried.pop() {
        queue.postpone(id, 500_000, None, 1.0, 0);
        tried.extend(take_all(&mut queue, 0));
    }
    assert!(queue.lane_statuses()[0].broken);
    assert_eq!(take_all(&mut queue, 10), []);
    assert_eq!(queue.make_due(|lane| lane.ends_with("/ftp"), 10), []);
    assert_eq!(
        queue.make_due(|lane| lane.ends_with("/s3"), 10),
        ids[..3],
        "the fourth was due, behind the broken lane"
    );
    let probe = take_all(&mut queue, 10);
    assert_eq!(probe.len(), 1);
    queue.settle(probe[0], 10);
    assert_eq!(take_all(&mut queue, 10).len(), 2);
}

#[test]
fn another_lane_takes_over_what_is_ready() {
    let mut queue = queue();
    let id = add(&mut queue, "k", "old");
    assert!(queue.change_lane(id, "new", 0));
    assert_eq!(queue.lane_statuses().len(), 1);
    assert_eq!(take_all(&mut queue, 0), [id]);
    assert!(!queue.change_lane(id, "old", 0), "not while it runs");
}

#[test]
fn nothing_is_due_later_than_the_longest_wait() {
    let mut queue = Queue::default();
    let id = queue.allot(1);
    queue.reserve(id, "k", "a");
    queue.confirm(id, u64::MAX, 0);
    queue.set_policy(Policy { backoff_max: Duration::from_secs(60), ..Policy::default() }, 0);
    assert_eq!(take_all(&mut queue, 59_999), []);
    assert_eq!(take_all(&mut queue, 60_000), [id]);
}

#[test]
fn ids_rise_also_above_what_was_read() {
    let mut queue = Queue::default();
    queue.reserve(900, "k", "a");
    assert_eq!(queue.allot(1), 901);
    assert_eq!(queue.allot(5000), 5000);
    assert_eq!(queue.allot(1), 5001);
}

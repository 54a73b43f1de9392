use tokio::time::{Instant, sleep};

use super::{host::GONE_AFTER, *};
use crate::config::Rate;

const SECOND: Duration = Duration::from_secs(1);

fn host(rate: Rate, connections: u32) -> Arc<Host> {
    let key = "a.example:443".parse().expect("a key");
    Pace::new().host(&key, Limits { rate, connections })
}

/// When each of `turns` turns by `tasks` tasks came, in order.
async fn turns(host: &Arc<Host>, tasks: usize, turns: usize) -> Vec<Instant> {
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let host = Arc::clone(host);
        set.spawn(async move {
            let mut times = Vec::new();
            for _ in 0..turns / tasks {
                host.turn().await;
                times.push(Instant::now());
            }
            times
        });
    }
    let mut times: Vec<_> = set.join_all().await.into_iter().flatten().collect();
    times.sort();
    times
}

fn closest(times: &[Instant]) -> Duration {
    times
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .min()
        .unwrap_or_default()
}

#[test]
fn a_key_is_host_and_port_in_lower_case() {
    let key = |text: &str| {
        HostKey::from_url(&Url::parse(text).expect("a url")).map(|key| key.to_string())
    };
    assert_eq!(
        key("https://Ex.Example/x").as_deref(),
        Some("ex.example:443")
    );
    assert_eq!(key("http://[::1]:8080/").as_deref(), Some("[::1]:8080"));
    assert_eq!(key("data:x"), None);
    assert_eq!(
        "A.example:80".parse::<HostKey>().expect("a key").as_str(),
        "a.example:80"
    );
    for junk in [
        "a.example",
        "a.example:",
        "u@a:1",
        "a:1/x",
        "",
        ":80",
        "a:99999",
    ] {
        assert!(junk.parse::<HostKey>().is_err(), "{junk}");
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_turns_at_one_a_second_are_a_second_apart() {
    let host = host(Rate::Every(SECOND), 5);
    let start = Instant::now();
    let times = turns(&host, 5, 20).await;
    assert!(
        start.elapsed() >= 19 * SECOND && start.elapsed() < 22 * SECOND,
        "{:?}",
        start.elapsed()
    );
    assert!(closest(&times) >= SECOND, "{:?}", closest(&times));
    assert_eq!(host.counts().requests, 20);
}

#[tokio::test(start_paused = true)]
async fn a_pause_earns_no_burst() {
    let host = host(Rate::Every(SECOND), 1);
    host.turn().await;
    sleep(60 * SECOND).await;
    assert!(closest(&turns(&host, 4, 4).await) >= SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_hold_stops_everybody_and_the_longest_wins() {
    for rate in [Rate::Unlimited, Rate::Every(SECOND)] {
        let host = host(rate, 5);
        let start = Instant::now();
        host.hold(30 * SECOND, HoldReason::RetryAfter, Some(429));
        host.hold(5 * SECOND, HoldReason::Failing, None);
        let hold = host.held().expect("a hold");
        assert_eq!(
            (hold.reason, hold.status),
            (HoldReason::RetryAfter, Some(429))
        );
        let waiting = tokio::spawn({
            let host = Arc::clone(&host);
            async move { turns(&host, 5, 5).await }
        });
        sleep(10 * SECOND).await;
        host.hold(60 * SECOND, HoldReason::Failing, None);
        let times = waiting.await.expect("no panic");
        assert!(
            times[0] - start >= 70 * SECOND && times[0] - start <= 78 * SECOND,
            "{:?}",
            times[0] - start
        );
        assert!(host.held().is_none());
        assert_eq!(host.counts().throttled, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn no_hold_is_longer_than_a_day() {
    let host = host(Rate::Unlimited, 1);
    host.hold(Duration::MAX, HoldReason::RetryAfter, None);
    assert_eq!(
        host.held().expect("a hold").until - Instant::now(),
        LONGEST_HOLD
    );
}

#[tokio::test(start_paused = true)]
async fn the_lowest_rate_and_the_fewest_connections_win() {
    let pace = Pace::new();
    let key = "a.example:443".parse().expect("a key");
    let host = pace.host(
        &key,
        Limits {
            rate: Rate::Every(SECOND),
            connections: 4,
        },
    );
    host.turn().await;
    let (one, two) = (host.connection().await, host.connection().await);
    let three = host.connection().await;
    pace.host(
        &key,
        Limits {
            rate: Rate::Every(3 * SECOND),
            connections: 2,
        },
    );
    pace.host(
        &key,
        Limits {
            rate: Rate::Unlimited,
            connections: 9,
        },
    );
    let start = Instant::now();
    let times = turns(&host, 2, 4).await;
    assert!(
        times[0] - start >= 3 * SECOND,
        "the request before the change counts"
    );
    assert!(closest(&times) >= 3 * SECOND);
    assert_eq!(host.idle_connections(), 0);
    drop(one);
    assert_eq!(host.idle_connections(), 0, "two are still out");
    drop((two, three));
    assert_eq!(host.idle_connections(), 2);
    assert_eq!(pace.hosts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_rate_turns_are_immediate() {
    let host = host(Rate::Unlimited, 1);
    let start = Instant::now();
    turns(&host, 10, 1000).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn connections_are_bounded_and_first_come_first_served() {
    let host = host(Rate::Unlimited, 2);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut set = tokio::task::JoinSet::new();
    for n in 0..8 {
        let (host, order) = (Arc::clone(&host), Arc::clone(&order));
        set.spawn(async move {
            sleep(Duration::from_millis(n)).await;
            let _connection = host.connection().await;
            order.lock().expect("no panic").push(n);
            sleep(SECOND).await;
        });
    }
    let start = Instant::now();
    set.join_all().await;
    assert!(start.elapsed() >= 4 * SECOND);
    assert_eq!(*order.lock().expect("no panic"), (0..8).collect::<Vec<_>>());
    assert_eq!(host.idle_connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn throttling_halves_the_rate_and_good_replies_regain_it() {
    let host = host(Rate::Every(SECOND), 1);
    let wait = host.throttled(SECOND, Some(429));
    assert!(
        wait >= SECOND && wait <= Duration::from_millis(1100),
        "{wait:?}"
    );
    assert_eq!(host.held().expect("a hold").reason, HoldReason::Throttled);
    // Others that were under way come back throttled too: that is one event.
    host.throttled(SECOND, Some(429));
    assert_eq!(host.counts().throttled, 2);
    let times = turns(&host, 1, 4).await;
    assert!(closest(&times) >= 2 * SECOND && closest(&times) < Duration::from_millis(2201));
    host.ok();
    let times = turns(&host, 1, 3).await;
    assert!(
        closest(&times) > Duration::from_millis(1900)
            && closest(&times) < Duration::from_millis(2120)
    );
    for _ in 0..24 {
        host.ok();
    }
    let times = turns(&host, 1, 4).await;
    assert!(
        closest(&times) >= SECOND && closest(&times) <= Duration::from_millis(1101),
        "{:?}",
        closest(&times)
    );
}

#[tokio::test(start_paused = true)]
async fn the_wait_doubles_while_throttling_goes_on() {
    let host = host(Rate::Unlimited, 1);
    for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        let wait = host.throttled(SECOND, None);
        assert!(
            wait >= expected * SECOND && wait <= (expected * SECOND).mul_f64(1.1),
            "{wait:?}"
        );
        host.turn().await;
    }
    host.ok();
    assert!(host.throttled(SECOND, None) < 2 * SECOND);
}

#[test]
fn reasons_are_words() {
    let json = serde_json::to_string(&HoldReason::RetryAfter).expect("a word");
    assert_eq!(json, "\"retry_after\"");
    assert_eq!(HoldReason::Failing.to_string(), "does not answer");
}

#[tokio::test(start_paused = true)]
async fn the_waits_that_are_known_of_a_site_are_taken_in_turn() {
    let waits = [200, 200, 400].map(Duration::from_secs);
    let host = host(Rate::Unlimited, 1);
    for wanted in [200, 200, 400, 400, 400] {
        let wait = host.throttled_by(&waits, Some(429));
        let wanted = Duration::from_secs(wanted);
        assert!(wait >= wanted && wait <= wanted.mul_f64(1.1), "{wait:?}");
        // What was under way during the hold tells nothing new.
        host.throttled_by(&waits, Some(429));
        tokio::time::sleep(wait + SECOND).await;
    }
    assert_eq!(host.streak(), 5);
    host.ok();
    assert_eq!(host.streak(), 0);
    // Another process goes on with the count.
    host.set_streak(2);
    assert!(host.throttled_by(&waits, Some(429)) >= Duration::from_secs(400));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_held_back_holds_the_other_hosts_as_well() {
    let (api, media) = (host(Rate::Unlimited, 1), host(Rate::Unlimited, 1));
    api.throttled_by(&[Duration::from_secs(200)], Some(429));
    let hold = api.held().expect("a hold");
    media.share(&api);
    assert_eq!(media.held().map(|hold| hold.until), Some(hold.until));
    assert_eq!(
        media.streak(),
        1,
        "the next wait is the second, whichever host says so"
    );
    // A longer hold of its own stays.
    media.hold(Duration::from_secs(900), HoldReason::RetryAfter, None);
    media.share(&api);
    assert!(media.held().expect("a hold").until > hold.until);
    assert_eq!(media.counts().throttled, 1);
}

#[tokio::test(start_paused = true)]
async fn fault_73_a_host_that_stays_away_is_taken_to_be_gone_for_this_run() {
    let host = host(Rate::Unlimited, 8);
    for _ in 0..GONE_AFTER {
        // Those under way when it went fail together, and count once.
        assert!(host.unreached(SECOND) && host.unreached(SECOND));
        host.turn().await;
    }
    assert!(!host.unreached(SECOND) && host.held().is_none());
    let start = Instant::now();
    host.turn().await;
    host.turn().await;
    assert_eq!(start.elapsed(), Duration::ZERO, "nobody waits for it");
    host.ok();
    assert!(host.unreached(SECOND), "it was back");
}

#[tokio::test(start_paused = true)]
async fn fault_73_a_host_that_cannot_be_reached_is_left_alone_and_probed_by_one() {
    let host = host(Rate::Unlimited, 8);
    for (nth, wait) in [1, 2, 4].into_iter().enumerate() {
        assert!(host.unreached(SECOND));
        let hold = host.held().expect("a hold");
        assert_eq!(hold.reason, HoldReason::Failing);
        let wait = SECOND * wait;
        let left = hold.until - Instant::now();
        assert!(left >= wait && left <= wait + wait / 10, "{left:?}");
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let host = Arc::clone(&host);
                tokio::spawn(async move { host.turn().await })
            })
            .collect();
        let passed = || waiting.iter().filter(|task| task.is_finished()).count();
        sleep(wait.mul_f64(0.99)).await;
        assert_eq!(passed(), 0, "the whole host waits");
        sleep(wait).await;
        assert_eq!(passed(), 1, "one finds out whether it is back");
        if nth == 2 {
            host.ok();
            sleep(Duration::from_millis(1)).await;
            assert_eq!(passed(), 5, "it is back for everybody");
        }
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[tokio::test(start_paused = true)]
async fn fault_71_a_host_that_refuses_one_file_after_another_is_asked_more_slowly() {
    let host = host(Rate::Unlimited, 1);
    for _ in 0..2 {
        for nth in 1..=7 {
            assert_eq!(host.refused(SECOND), nth >= 5, "{nth}");
            let wait = host
                .held()
                .map_or(Duration::ZERO, |hold| hold.until - Instant::now());
            let least = match nth {
                5 => SECOND,
                6 => 2 * SECOND,
                7 => 4 * SECOND,
                _ => Duration::ZERO,
            };
            assert!(
                wait >= least && wait <= least + least / 10,
                "{nth}: {wait:?}"
            );
            host.turn().await;
            host.ok();
        }
        // Any picture that comes ends the row.
        host.served();
    }
    assert_eq!(host.counts().throttled, 0);
}

#[tokio::test(start_paused = true)]
async fn fault_72_throttling_in_the_body_of_a_reply_is_waited_out_for_longer() {
    let host = host(Rate::Unlimited, 1);
    let mut last = Duration::ZERO;
    for nth in 0..12_u32 {
        let wait = host.throttled_in_words(SECOND, Some(200));
        let least = (60 * SECOND * (1 << nth)).min(Duration::from_secs(6 * 60 * 60));
        assert!(
            wait >= least && wait <= least + least / 10,
            "{nth}: {wait:?}"
        );
        last = wait;
        host.turn().await;
    }
    assert!(last >= Duration::from_secs(6 * 60 * 60));
    assert_eq!(host.counts().throttled, 12);
}

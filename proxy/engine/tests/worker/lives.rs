//! Connections from their beginning to their end: detection, opaque bytes, policy changes, drain.

use std::sync::Arc;
use std::time::Duration;

use weft_engine::io::{Answer, Question, Side, Subject};
use weft_policy::inbound::DefaultPolicy;
use weft_policy::outbound::{
    Backend, Backoff, Distribution, Endpoint, EndpointSet, HttpRoutes, Load, Retry, RetryConditions,
    RouteBackend, Rule,
};

use crate::bench::{Bench, SERVER, TARGET, addr, detect, forward, meta, to};

const GET: &str = "GET / HTTP/1.1\r\nhost: web\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn nothing_is_read_before_the_policy_is_there() {
    let mut b = Bench::new(|_| {});
    let client = b.client();
    b.sends(client, GET);
    assert!(!b.world.socks[client.0 as usize].interest.0);
    assert_eq!(b.world.questions, [Question::Discover { target: addr(TARGET) }]);
    b.discovered(forward());
    let server = b.connects(0);
    assert!(b.got(server).starts_with("GET / HTTP/1.1\r\n"));
    assert_eq!(b.world.dialed[0].0, addr(SERVER));
}

#[test]
fn whatever_is_not_http_is_carried_as_it_is() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, "HELO there\r\n");
    let server = b.connects(0);
    assert_eq!(b.got(server), "HELO there\r\n");
    b.sends(server, "250 hello\r\n");
    assert_eq!(b.got(client), "250 hello\r\n");
    b.ends(client);
    assert!(b.world.socks[server.0 as usize].shut && !b.is_closed(server), "half of it is closed");
    b.sends(server, "221 bye\r\n");
    assert_eq!(b.got(client), "221 bye\r\n");
    b.ends(server);
    assert!(b.is_closed(client) && b.is_closed(server) && !b.is_reset(client));
}

#[test]
fn the_server_may_speak_first() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.pass(Duration::from_secs(10));
    let server = b.connects(0);
    b.sends(server, "220 mail\r\n");
    assert_eq!(b.got(client), "220 mail\r\n");
}

#[test]
fn a_cut_on_one_side_cuts_the_other() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, "HELO there\r\n");
    let server = b.connects(0);
    b.breaks(server);
    assert!(b.is_reset(client));
}

#[test]
fn a_client_that_gives_up_while_it_is_answered_takes_the_servers_side_with_it() {
    for answered in ["", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"] {
        let mut b = Bench::new(|_| {});
        let client = b.forwarded_client();
        b.sends(client, GET);
        let server = b.connects(0);
        b.sends(server, answered);
        b.ends(client);
        assert!(b.is_closed(server) && b.is_closed(client), "{answered}");
    }
}

#[test]
fn requests_of_one_connection_are_answered_in_order() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, format!("{GET}{GET}").replacen("GET / ", "GET /first ", 1));
    let server = b.connects(0);
    let first = b.got(server);
    assert!(first.starts_with("GET /first ") && first.matches("GET ").count() == 1, "{first}");
    b.sends(server, OK);
    assert!(b.got(server).starts_with("GET / "), "the next when the first is answered");
    b.sends(server, OK);
    assert_eq!(b.got(client).matches("ok").count(), 2);
    assert_eq!(b.world.dialed.len(), 1);
}

#[test]
fn idle_connections_expire() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, GET);
    let server = b.connects(0);
    b.sends(server, OK);
    b.pass(Duration::from_millis(2_990));
    assert!(!b.is_closed(server));
    b.pass(Duration::from_millis(10));
    assert!(b.is_closed(server) && !b.is_closed(client));
}

#[test]
fn who_takes_nothing_is_given_up() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.world.socks[client.0 as usize].room = 10;
    b.sends(client, GET);
    let server = b.connects(0);
    b.sends(server, OK);
    b.pass(Duration::from_secs(299));
    b.takes(client, 10);
    b.pass(Duration::from_secs(299));
    assert!(!b.is_closed(client), "it is slow, but it takes something");
    b.pass(Duration::from_secs(2));
    assert!(b.is_reset(client));
    assert_eq!(b.gauges(|g| (g.slow_clients.get(), g.buffered_bytes.get())), (1, 0));
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, "GET /ws HTTP/1.1\r\nhost: web\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n");
    let server = b.connects(0);
    let head = b.got(server);
    assert!(head.contains("connection: upgrade\r\nupgrade: websocket\r\n"), "{head}");
    b.sends(server, "HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst");
    let answer = b.got(client);
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\nfirst"), "{answer}");
    b.sends(client, "GET / is not HTTP here");
    assert_eq!(b.got(server), "GET / is not HTTP here");
    assert_eq!(b.gauges(|g| g.exchanges.get()), 0);
}

#[test]
fn connect_becomes_a_tunnel() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, "CONNECT db:5432 HTTP/1.1\r\nhost: db:5432\r\n\r\n");
    let server = b.connects(0);
    assert!(b.got(server).starts_with("CONNECT db:5432 HTTP/1.1\r\n"));
    b.sends(server, "HTTP/1.1 200 OK\r\n\r\n");
    assert!(b.got(client).starts_with("HTTP/1.1 200 OK\r\n"));
    b.sends(client, "bytes");
    b.sends(server, "back");
    assert_eq!((b.got(server), b.got(client)), ("bytes".into(), "back".into()));
}

#[test]
fn what_the_application_says_of_identities_is_not_believed() {
    let mut b = Bench::new(|_| {});
    let client = b.accept(Side::Inbound, addr("10.2.0.1:8080"));
    b.sends(client, "GET / HTTP/1.1\r\nhost: web\r\nl5d-client-id: root\r\nx-other: kept\r\n\r\n");
    let server = b.connects(0);
    let head = b.got(server);
    assert!(!head.contains("l5d-client-id") && head.contains("x-other: kept"), "{head}");
}

#[test]
fn a_changed_policy_ends_connections_that_it_forbids() {
    let mut b = Bench::new(|_| {});
    let client = b.accept(Side::Inbound, addr("10.2.0.1:9000"));
    b.sends(client, "\0opaque");
    let server = b.connects(0);
    assert_eq!(b.got(server), "\0opaque");
    let allow = DefaultPolicy::AllUnauthenticated.server(&[], true, Duration::from_secs(10));
    b.answer(Answer::Port { port: 9000, policy: Arc::new(allow) });
    assert!(!b.is_closed(client));
    let deny = DefaultPolicy::Deny.server(&[], true, Duration::from_secs(10));
    b.answer(Answer::Port { port: 9000, policy: Arc::new(deny) });
    assert!(b.is_reset(client) && b.is_reset(server));
    let mut terminated = 0;
    b.registry
        .servers
        .visit(|_, blocks, _| terminated += blocks.iter().map(|b| b.tcp_terminated.get()).sum::<u64>());
    assert_eq!(terminated, 1);
}

#[test]
fn what_is_not_used_is_forgotten() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.ends(client);
    assert!(b.is_closed(client));
    b.pass(Duration::from_millis(4_990));
    assert_eq!(b.gauges(|g| g.policies.get()), 1);
    b.pass(Duration::from_millis(20));
    assert_eq!(b.gauges(|g| g.policies.get()), 0);
    assert_eq!(b.world.questions.last(), Some(&Question::Forget(Subject::Target(addr(TARGET)))));
}

#[test]
fn drain_loses_nothing() {
    let mut b = Bench::new(|_| {});
    let (idle, busy, opaque) = (b.forwarded_client(), b.client(), b.client());
    b.sends(idle, GET);
    let first = b.connects(0);
    b.sends(first, OK);
    b.sends(busy, GET);
    b.sends(opaque, "HELO there\r\n");
    let tunnel = b.connects(1);
    b.answer(Answer::Drain);
    assert!(b.is_closed(idle) && !b.is_reset(idle), "nothing is under way there");
    b.sends(first, OK);
    let answer = b.got(busy);
    assert!(answer.contains("connection: close\r\n") && answer.ends_with("ok"), "{answer}");
    b.ends(busy);
    b.sends(tunnel, "still here");
    assert!(b.got(opaque).ends_with("still here"));
    assert!(!b.worker.is_idle());
    b.pass(Duration::from_secs(121));
    assert!(b.is_reset(opaque) && b.worker.is_idle(), "patience is over");
}

/// Connections that fail together are one failure: who comes next does not wait as if there had been many in a row.
#[test]
fn connections_that_fail_together_are_one_failure() {
    let mut b = Bench::new(|_| {});
    let mut clients = vec![b.forwarded_client()];
    clients.extend((1..50).map(|_| b.client()));
    for client in &clients {
        b.sends(*client, GET);
    }
    for n in 0..50 {
        b.refuses(n);
    }
    for client in clients {
        assert!(b.got(client).starts_with("HTTP/1.1 502 "));
    }
    let client = b.client();
    b.sends(client, GET);
    assert_eq!(b.world.dialed.len(), 50, "it is left alone for a while");
    b.pass(Duration::from_millis(120));
    assert_eq!(b.world.dialed.len(), 51);
    let server = b.connects(50);
    b.sends(server, OK);
    assert!(b.got(client).ends_with("ok"));
}

/// Who waits for a connection to where a policy leads gets it still when that policy is replaced.
#[test]
fn a_changed_policy_leaves_nobody_waiting_in_vain() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, GET);
    b.discovered(to(to_server_at("10.2.0.2:8080")));
    b.pass(Duration::from_millis(10));
    let server = b.connects(0);
    assert_eq!(b.got(server), GET);
    b.sends(server, OK);
    assert!(b.got(client).ends_with("ok"));
    assert!(b.is_closed(server), "nobody comes to it any more");
    b.sends(client, GET);
    assert_eq!(b.world.dialed[1].0, addr("10.2.0.2:8080"));
    let other = b.connects(1);
    b.sends(other, OK);
    assert!(b.got(client).ends_with("ok"));
}

/// The same when there is nobody: who waited is told, and the endpoint is forgotten.
#[test]
fn a_changed_policy_forgets_who_cannot_be_connected_to() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, GET);
    b.discovered(to(to_server_at("10.2.0.2:8080")));
    assert_eq!(b.gauges(|g| g.endpoints.get()), 2);
    b.refuses(0);
    let answer = b.got(client);
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    b.pass(Duration::from_secs(1));
    assert_eq!(b.gauges(|g| g.endpoints.get()), 1);
}

/// A request between two attempts goes on where its policy sent it, whatever the policy is by then.
#[test]
fn a_changed_policy_leaves_retries_their_destination() {
    for balance in [false, true] {
        let backend = match balance {
            true => Backend::balance(meta("web"), "web", Load::default()),
            false => Backend::forward(meta("server"), Arc::new(Endpoint::plain(addr(SERVER)))),
        };
        let mut rule = Rule::new(Distribution::only(RouteBackend::new(Arc::new(backend))));
        rule.retry = Some(Retry {
            max_retries: 1,
            max_request_bytes: 1_000,
            conditions: RetryConditions { statuses: vec![(500, 599)], ..RetryConditions::default() },
            timeout: None,
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(1), 0.0).ok(),
        });
        let mut b = Bench::new(|_| {});
        let client = b.client();
        b.discovered(detect(HttpRoutes::from_rule(meta("retried"), rule), to_server()));
        let endpoints = EndpointSet::new([Arc::new(Endpoint::plain(addr(SERVER)))]);
        if balance {
            b.answer(Answer::Endpoints { path: "web".into(), endpoints: Arc::new(endpoints) });
        }
        b.sends(client, GET);
        let server = b.connects(0);
        assert_eq!(b.got(server), GET);
        b.sends(server, "HTTP/1.1 500 no\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        b.discovered(to(to_server_at("10.2.0.2:8080")));
        assert_eq!(b.got(client), "", "to be tried again");
        b.pass(Duration::from_millis(600));
        assert_eq!(b.world.dialed[1].0, addr(SERVER));
        let again = b.connects(1);
        assert_eq!(b.got(again), GET);
        b.sends(again, OK);
        assert!(b.got(client).ends_with("ok"));
        b.pass(Duration::from_secs(1));
        assert_eq!(b.gauges(|g| g.endpoints.get()), 1, "balance: {balance}");
    }
}

fn to_server() -> Arc<Backend> {
    to_server_at(SERVER)
}

fn to_server_at(address: &str) -> Arc<Backend> {
    Arc::new(Backend::forward(meta("server"), Arc::new(Endpoint::plain(addr(address)))))
}

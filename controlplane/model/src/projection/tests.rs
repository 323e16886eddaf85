//! Properties of the projection over random histories.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    fact::Id,
    manifest,
    view::{
        outbound, profile,
        tests::{service, settings, workload},
    },
};

/// One thing that happens, over a small world so that things meet.
#[derive(Clone, Debug)]
enum Step {
    Service { name: u8, ports: u8 },
    ServiceGone { name: u8 },
    Workload { name: u8, service: u8, address: u8, ready: bool },
    WorkloadGone { name: u8 },
    Write { which: usize },
    Erase { which: usize },
}

const SERVICES: [&str; 3] = ["web", "api", "db"];
const WORKLOADS: [&str; 4] = ["w-0", "w-1", "w-2", "w-3"];

/// Objects that can be there or not. Two with one name take each other's place.
const OBJECTS: [&str; 14] = [
    "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80, targetPort: http}]}}",
    "{apiVersion: v1, kind: Service, metadata: {name: all}, spec: {selector: {app: web}, ports: [{port: 80}]}}",
    "{apiVersion: v1, kind: Service, metadata: {name: all}, spec: {selector: {app: api}, ports: [{port: 81}]}}",
    "{apiVersion: policy.linkerd.io/v1beta3, kind: Server, metadata: {name: a}, spec: {port: 8080, podSelector: {}}}",
    "{apiVersion: policy.linkerd.io/v1beta3, kind: Server, metadata: {name: b}, spec: {port: http, podSelector: {matchLabels: {app: web}}, proxyProtocol: opaque}}",
    "{apiVersion: policy.linkerd.io/v1alpha1, kind: MeshTLSAuthentication, metadata: {name: m}, spec: {identities: ['*']}}",
    "{apiVersion: policy.linkerd.io/v1alpha1, kind: NetworkAuthentication, metadata: {name: n}, spec: {networks: [{cidr: 10.0.0.0/8}]}}",
    "{apiVersion: policy.linkerd.io/v1alpha1, kind: AuthorizationPolicy, metadata: {name: p}, spec: {targetRef: {group: policy.linkerd.io, kind: Server, name: a}, requiredAuthenticationRefs: [{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: m}, {group: policy.linkerd.io, kind: NetworkAuthentication, name: n}]}}",
    "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r}, spec: {parentRefs: [{group: core, kind: Service, name: web}], rules: [{backendRefs: [{name: api, port: 80}]}]}}",
    "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r}, spec: {parentRefs: [{group: policy.linkerd.io, kind: Server, name: a}], rules: [{}]}}",
    "{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {name: g}, spec: {parentRefs: [{group: core, kind: Service, name: api}], rules: [{}]}}",
    "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: c, namespace: shop}, spec: {parentRefs: [{group: core, kind: Service, name: web, namespace: default}], rules: [{}]}}",
    "{apiVersion: linkerd.io/v1alpha2, kind: ServiceProfile, metadata: {name: web.default.svc.cluster.local}, spec: {opaquePorts: ['80']}}",
    "{apiVersion: linkerd.io/v1alpha2, kind: ServiceProfile, metadata: {name: web.default.svc.cluster.local, namespace: shop}, spec: {}}",
];

fn object(which: usize) -> crate::Object {
    manifest::read(&Arc::from("t.yaml"), OBJECTS[which]).unwrap().remove(0)
}

fn event(step: &Step) -> Event {
    let id = |names: &[&str], index: u8| Id::new("default", names[usize::from(index)]);
    match *step {
        Step::Service { name, ports } => {
            let ports: Vec<u16> = (0..ports).map(|port| 80 + u16::from(port)).collect();
            Event::Service(
                service(SERVICES[usize::from(name)], &format!("10.9.0.{}", name + 1), &ports).into(),
            )
        }
        Step::ServiceGone { name } => Event::ServiceGone(id(&SERVICES, name)),
        Step::Workload { name, service, address, ready } => {
            let mut workload = workload(
                WORKLOADS[usize::from(name)],
                SERVICES[usize::from(service)],
                &format!("10.8.0.{address}"),
            );
            workload.ready = ready;
            Event::Workload(workload.into())
        }
        Step::WorkloadGone { name } => Event::WorkloadGone(id(&WORKLOADS, name)),
        Step::Write { which } => Event::Written(object(which)),
        Step::Erase { which } => {
            let object = object(which);
            Event::Erased(object.kind(), object.id().clone())
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3u8, 0..3u8).prop_map(|(name, ports)| Step::Service { name, ports }),
        (0..3u8).prop_map(|name| Step::ServiceGone { name }),
        (0..4u8, 0..3u8, 1..5u8, any::<bool>()).prop_map(|(name, service, address, ready)| Step::Workload {
            name,
            service,
            address,
            ready
        }),
        (0..4u8).prop_map(|name| Step::WorkloadGone { name }),
        (0..OBJECTS.len()).prop_map(|which| Step::Write { which }),
        (0..OBJECTS.len()).prop_map(|which| Step::Erase { which }),
    ]
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..most)
}

/// Subscriptions to everything in the small world.
struct Everything {
    endpoints: Vec<Subscription<Endpoints>>,
    profiles: Vec<Subscription<Profile>>,
    outbound: Vec<Subscription<Outbound>>,
    inbound: Vec<Subscription<Inbound>>,
}

impl Everything {
    fn of(projection: &mut Projection) -> Self {
        let mut all =
            Self { endpoints: Vec::new(), profiles: Vec::new(), outbound: Vec::new(), inbound: Vec::new() };
        for name in SERVICES.into_iter().chain(["all"]) {
            let service = Id::new("default", name);
            for instance in [None, Some("w-1".into())] {
                let key = EndpointsKey { service: service.clone(), port: 80, instance };
                all.endpoints.push(projection.endpoints(key).unwrap());
            }
            for client in ["default", "shop"] {
                let target = profile::Target::Service(service.clone(), 80);
                all.profiles.push(projection.profile(ProfileKey { target, client: client.into() }).unwrap());
                let target = outbound::Target::Service(service.clone(), 80);
                all.outbound
                    .push(projection.outbound(OutboundKey { target, client: client.into() }).unwrap());
            }
        }
        for address in ["10.9.0.1:80", "10.9.0.2:81", "10.8.0.1:8080", "10.8.0.2:80", "192.0.2.1:80"] {
            let address = address.parse().unwrap();
            let client: Arc<str> = "default".into();
            let target = profile::Target::Address(address);
            all.profiles.push(projection.profile(ProfileKey { target, client: client.clone() }).unwrap());
            let target = outbound::Target::Address(address);
            all.outbound.push(projection.outbound(OutboundKey { target, client }).unwrap());
        }
        for name in WORKLOADS {
            for port in [8080, 5432] {
                let key = InboundKey { workload: Id::new("default", name), port };
                all.inbound.push(projection.inbound(key).unwrap());
            }
        }
        all
    }

    /// Every view as it is now, as text.
    fn latest(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        texts.extend(self.endpoints.iter_mut().map(|s| format!("{:?}", s.latest().view)));
        texts.extend(self.profiles.iter_mut().map(|s| format!("{:?}", s.latest().view)));
        texts.extend(self.outbound.iter_mut().map(|s| format!("{:?}", s.latest().view)));
        texts.extend(self.inbound.iter_mut().map(|s| format!("{:?}", s.latest().view)));
        texts
    }

    fn generations(&mut self) -> Vec<u64> {
        let mut generations = Vec::new();
        generations.extend(self.endpoints.iter_mut().map(|s| s.latest().generation));
        generations.extend(self.profiles.iter_mut().map(|s| s.latest().generation));
        generations.extend(self.outbound.iter_mut().map(|s| s.latest().generation));
        generations.extend(self.inbound.iter_mut().map(|s| s.latest().generation));
        generations
    }
}

/// The last report of each thing, in an order of its own: what a source would say if asked anew.
fn latest_of_each(steps: &[Step]) -> Vec<Event> {
    let mut last = BTreeMap::new();
    for step in steps {
        let event = event(step);
        let key = match &event {
            Event::Service(service) => format!("service {}", service.id),
            Event::ServiceGone(id) => format!("service {id}"),
            Event::Workload(workload) => format!("workload {}", workload.id),
            Event::WorkloadGone(id) => format!("workload {id}"),
            Event::Written(object) => format!("{:?} {}", object.kind(), object.id()),
            Event::Erased(kind, id) => format!("{kind:?} {id}"),
            Event::Problems(file, _) => format!("problems {file}"),
        };
        last.insert(key, event);
    }
    last.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// However the facts came about, the views are those of the facts: kept up step by step, made from all
    /// facts at once, in any order, or asked for only afterwards.
    #[test]
    fn views_depend_on_facts_alone(history in steps(40)) {
        let mut projection = Projection::new(settings());
        let mut kept = Everything::of(&mut projection);
        for step in &history {
            projection.apply([event(step)]);
            projection.check();
        }
        let kept = kept.latest();

        let mut late = Projection::new(settings());
        for step in &history {
            late.apply([event(step)]);
        }
        prop_assert_eq!(&kept, &Everything::of(&mut late).latest(), "asked for afterwards");

        let mut replayed = Projection::new(settings());
        let mut all = Everything::of(&mut replayed);
        let mut events = latest_of_each(&history);
        events.reverse();
        replayed.apply(events);
        prop_assert_eq!(&kept, &all.latest(), "the last report of each thing, in reverse order");
    }

    /// A report that was made before changes nothing: no generation, no view.
    #[test]
    fn repeating_a_report_changes_nothing(history in steps(20)) {
        let mut projection = Projection::new(settings());
        let mut all = Everything::of(&mut projection);
        projection.apply(history.iter().map(event));
        let generation = projection.generation();
        let before = all.generations();
        let changes = projection.apply(latest_of_each(&history));
        prop_assert_eq!(changes, Changes { generation, views: Vec::new() });
        prop_assert_eq!(all.generations(), before);
    }

    /// A view is published exactly when it is different, with the generation of the change, and the changes
    /// that are returned name exactly those views.
    #[test]
    fn equal_views_are_not_published_again(history in steps(25)) {
        let mut projection = Projection::new(settings());
        let mut all = Everything::of(&mut projection);
        let mut texts = all.latest();
        let mut generations = all.generations();
        for step in &history {
            let changes = projection.apply([event(step)]);
            let (now, published) = (all.latest(), all.generations());
            let mut different = 0;
            for index in 0..texts.len() {
                prop_assert_eq!(texts[index] != now[index], generations[index] != published[index], "{}", now[index]);
                if texts[index] != now[index] {
                    different += 1;
                    prop_assert_eq!(published[index], changes.generation);
                }
            }
            prop_assert_eq!(different, changes.views.len());
            (texts, generations) = (now, published);
        }
    }

    /// Nobody sees a state between the events of one call.
    #[test]
    fn a_batch_is_one_change(history in steps(20)) {
        let mut projection = Projection::new(settings());
        let mut all = Everything::of(&mut projection);
        projection.apply(history.iter().map(event));
        prop_assert!(projection.generation() <= 1);
        prop_assert!(all.generations().into_iter().all(|generation| generation <= 1));
    }
}

#[test]
fn views_nobody_subscribes_to_are_dropped() {
    let mut projection = Projection::new(settings());
    let key = EndpointsKey { service: Id::new("default", "web"), port: 80, instance: None };
    drop(projection.endpoints(key.clone()).unwrap());
    let kept = projection.endpoints(EndpointsKey { port: 81, ..key }).unwrap();
    assert_eq!(projection.views(), 2);
    let changes = projection.apply([Event::Service(service("web", "10.9.0.1", &[80]).into())]);
    assert_eq!((projection.views(), changes.views.len()), (1, 1));
    projection.check();
    drop(kept);
}

#[test]
fn the_number_of_views_is_bounded() {
    let mut projection = Projection::with_max_views(settings(), 10);
    let key = |port| EndpointsKey { service: Id::new("default", "web"), port, instance: None };
    let mut held: Vec<_> = (1..=10).map(|port| projection.endpoints(key(port)).unwrap()).collect();
    assert_eq!(projection.endpoints(key(11)).unwrap_err(), SubscribeError::TooMany(10));
    assert!(projection.endpoints(key(3)).is_ok(), "one that exists is shared");
    held.pop();
    assert!(projection.endpoints(key(11)).is_ok(), "room is made by dropping what nobody subscribes to");
    projection.check();
}

#[tokio::test]
async fn a_subscriber_sees_the_newest_value_only() {
    let mut projection = Projection::new(settings());
    let key = EndpointsKey { service: Id::new("default", "web"), port: 80, instance: None };
    let mut subscription = projection.endpoints(key).unwrap();
    assert_eq!(subscription.latest().generation, 0);
    projection.apply([Event::Service(service("web", "10.9.0.1", &[80]).into())]);
    for index in 0..10 {
        let name = format!("w-{index}");
        projection.apply([Event::Workload(workload(&name, "web", &format!("10.8.0.{index}")).into())]);
    }
    let newest = subscription.changed().await;
    assert_eq!((newest.generation, newest.view.as_ref().unwrap().endpoints().len()), (11, 10));
    let next = tokio::time::timeout(std::time::Duration::ZERO, subscription.changed()).await;
    assert!(next.is_err(), "there is nothing newer");
}

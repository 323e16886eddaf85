use std::net::TcpListener;

use super::super::epoll::Events;
use super::*;

struct World {
    epoll: Epoll,
    events: Events,
    sockets: Sockets,
    listener: TcpListener,
}

impl World {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { epoll: Epoll::new().unwrap(), events: Events::new(16), sockets: Sockets::default(), listener }
    }

    /// A connection: the socket under test, and its peer.
    fn pair(&mut self) -> (SocketId, TcpStream) {
        let peer = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        let (socket, _) = self.listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        (self.sockets.accepted(&self.epoll, socket).unwrap(), peer)
    }

    /// Takes events from the kernel: waits for one if there shall be any.
    fn events(&mut self, any: bool) -> usize {
        let patience = if any { std::time::Duration::from_secs(10) } else { std::time::Duration::ZERO };
        self.epoll.wait(&mut self.events, Some(patience)).unwrap();
        for (source, flags) in self.events.iter() {
            if let Source::Socket { slot, generation } = source {
                self.sockets.event(slot, generation, flags);
            }
        }
        self.events.len()
    }

    /// One round: who is readable, who is writable.
    fn round(&mut self) -> (Vec<u32>, Vec<u32>) {
        let (mut read, mut write) = (Vec::new(), Vec::new());
        for _ in 0..self.sockets.ready_len() {
            let Some(ready) = self.sockets.next_ready() else { continue };
            read.extend(self.sockets.to_read(ready).map(|id| id.0));
            write.extend(self.sockets.to_write(ready).map(|id| id.0));
            self.sockets.again(ready);
        }
        (read, write)
    }
}

#[test]
fn readiness_is_level_triggered_to_the_worker() {
    let mut world = World::new();
    let (id, mut peer) = world.pair();
    peer.write_all(b"0123456789").unwrap();
    assert_eq!(world.events(true), 1);
    assert_eq!(world.round(), (vec![], vec![]), "nothing is wanted");
    world.sockets.interest(id, true, false);
    assert_eq!(world.round(), (vec![0], vec![]));
    assert_eq!(world.round(), (vec![0], vec![]), "still unread");
    let mut buf = [0; 4];
    assert_eq!(world.sockets.read(id, &mut buf).unwrap(), 4);
    assert_eq!(world.round(), (vec![0], vec![]), "there is more");
    world.sockets.interest(id, false, false);
    assert_eq!(world.round(), (vec![], vec![]));
    world.sockets.interest(id, true, false);
    assert_eq!(world.sockets.read(id, &mut [0; 64]).unwrap(), 6);
    assert_eq!(world.round(), (vec![], vec![]), "a short read took all");
    assert_eq!(world.events(false), 0);

    peer.write_all(b"x").unwrap();
    assert_eq!(world.events(true), 1);
    assert_eq!(world.round(), (vec![0], vec![]));
}

#[test]
fn a_short_read_does_not_hide_the_end_behind_it() {
    let mut world = World::new();
    let (id, mut peer) = world.pair();
    world.sockets.interest(id, true, false);
    peer.write_all(b"last").unwrap();
    drop(peer);
    world.events(true);
    assert_eq!(world.sockets.read(id, &mut [0; 64]).unwrap(), 4);
    // Either it was known already, or the kernel tells now.
    world.events(false);
    assert_eq!(world.round(), (vec![0], vec![]));
    assert_eq!(world.sockets.read(id, &mut [0; 64]).unwrap(), 0);
    assert_eq!(world.round(), (vec![0], vec![]), "and it stays");
}

#[test]
fn writability_is_watched_once_it_is_missed() {
    let mut world = World::new();
    let (id, mut peer) = world.pair();
    world.sockets.interest(id, false, true);
    assert_eq!(world.round(), (vec![], vec![0]), "accepted sockets begin writable");
    assert_eq!(world.events(false), 0, "and the kernel does not say so");
    let data = vec![0; 1 << 20];
    let mut sent = 0;
    while let Ok(len) = world.sockets.write(&world.epoll, id, &[IoSlice::new(&data)]) {
        sent += len;
    }
    while world.events(false) > 0 {}
    assert_eq!(world.round(), (vec![], vec![]), "full");
    peer.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    io::copy(&mut Read::by_ref(&mut peer).take(sent as u64), &mut io::sink()).unwrap();
    assert_eq!(world.events(true), 1);
    assert_eq!(world.round(), (vec![], vec![0]));
}

#[test]
fn what_was_for_a_socket_before_is_void() {
    let mut world = World::new();
    let (old, mut old_peer) = world.pair();
    world.sockets.interest(old, true, true);
    old_peer.write_all(b"x").unwrap();
    // Queued for writing already; an event for reading is taken, but not yet looked at.
    world.epoll.wait(&mut world.events, Some(std::time::Duration::from_secs(10))).unwrap();
    assert_eq!(world.sockets.ready_len(), 1);
    drop(world.sockets.remove(old));
    let (new, _new_peer) = world.pair();
    assert_eq!(new, old, "the slot is used again");
    world.sockets.interest(new, true, false);
    for (source, flags) in world.events.iter() {
        if let Source::Socket { slot, generation } = source {
            world.sockets.event(slot, generation, flags);
        }
    }
    assert_eq!(world.round(), (vec![], vec![]));
    assert_eq!(world.sockets.open(), 1);
}

#[test]
fn calls_for_sockets_that_are_gone_fail() {
    let mut world = World::new();
    let (id, _peer) = world.pair();
    drop(world.sockets.remove(id));
    assert!(world.sockets.remove(id).is_none());
    assert_eq!(world.sockets.read(id, &mut [0]).unwrap_err().kind(), io::ErrorKind::NotConnected);
    let error = world.sockets.write(&world.epoll, id, &[]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    assert!(world.sockets.socket(SocketId(77)).is_err());
    world.sockets.interest(id, true, true);
    assert_eq!(world.sockets.ready_len(), 0);
}

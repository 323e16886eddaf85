//! Places for endpoints, named so that a name of one that is gone is never a name of another.

use super::Member;

/// Names an endpoint of one balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId {
    slot: u32,
    generation: u32,
}

#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    member: Option<Member<T>>,
}

impl EndpointId {
    /// The place, which is a small number: usable as an index. Places are used again, ids are not.
    pub fn slot(self) -> u32 {
        self.slot
    }
}

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, member: Member<T>) -> EndpointId {
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.slots.get_mut(slot as usize)
        {
            place.member = Some(member);
            return EndpointId { slot, generation: place.generation };
        }
        let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot { generation: 0, member: Some(member) });
        EndpointId { slot, generation: 0 }
    }

    pub(super) fn remove(&mut self, id: EndpointId) -> Option<Member<T>> {
        let place = self.slots.get_mut(id.slot as usize).filter(|p| p.generation == id.generation)?;
        let member = place.member.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.slot);
        Some(member)
    }

    pub(super) fn get(&self, id: EndpointId) -> Option<&Member<T>> {
        let place = self.slots.get(id.slot as usize)?;
        place.member.as_ref().filter(|_| place.generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: EndpointId) -> Option<&mut Member<T>> {
        let place = self.slots.get_mut(id.slot as usize)?;
        place.member.as_mut().filter(|_| place.generation == id.generation)
    }

    /// The endpoint at a place.
    pub(super) fn id(&self, slot: u32) -> Option<EndpointId> {
        let place = self.slots.get(slot as usize)?;
        place.member.as_ref().map(|_| EndpointId { slot, generation: place.generation })
    }

    /// How many places there are, used or not.
    pub(super) fn places(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn ids(&self) -> Vec<EndpointId> {
        self.iter().map(|(id, _)| id).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (EndpointId, &Member<T>)> {
        (0..).zip(&self.slots).filter_map(|(slot, place)| {
            place.member.as_ref().map(|m| (EndpointId { slot, generation: place.generation }, m))
        })
    }
}

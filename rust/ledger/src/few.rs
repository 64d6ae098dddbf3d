//! A list that mostly has one element and then costs no allocation: the lines of a hold, the holds of a command.

/// One or many. Empty lists are `Many` without allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Few<T> {
    /// Exactly one.
    One(T),
    /// Any other number.
    Many(Vec<T>),
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Few::Many(Vec::new())
    }
}

impl<T> Few<T> {
    /// Appends.
    pub fn push(&mut self, value: T) {
        *self = match std::mem::take(self) {
            Few::Many(list) if list.is_empty() => Few::One(value),
            Few::One(first) => Few::Many(vec![first, value]),
            Few::Many(mut list) => {
                list.push(value);
                Few::Many(list)
            }
        };
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut few = Few::default();
        values.into_iter().for_each(|value| few.push(value));
        few
    }
}

impl<T> std::ops::Deref for Few<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match self {
            Few::One(value) => std::slice::from_ref(value),
            Few::Many(list) => list,
        }
    }
}

impl<T> std::ops::DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Few::One(value) => std::slice::from_mut(value),
            Few::Many(list) => list,
        }
    }
}

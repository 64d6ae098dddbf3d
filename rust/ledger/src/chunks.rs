//! Storage that grows without moving its elements: it never copies millions of entries at once and touches no page twice.

const CHUNK: usize = 4_096;

/// A list whose elements never move.
pub(crate) struct Chunks<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Chunks { chunks: Vec::new() }
    }
}

impl<T> Chunks<T> {
    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Appends an element.
    #[inline]
    pub fn push(&mut self, value: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(value),
            _ => {
                // The first chunk grows as needed: most ledgers in tests are small.
                let mut chunk = Vec::with_capacity(if self.chunks.is_empty() { 4 } else { CHUNK });
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
    }

    /// The element at an index.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    /// The element at an index, mutable.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }

    /// All elements from an index on.
    pub fn from(&self, index: usize) -> impl Iterator<Item = &T> {
        let (chunk, within) = (index / CHUNK, index % CHUNK);
        let first = self.chunks.get(chunk).map_or(&[][..], |first| first.get(within..).unwrap_or_default());
        first.iter().chain(self.chunks.iter().skip(chunk + 1).flatten())
    }

    /// All elements.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

impl<T> IntoIterator for Chunks<T> {
    type Item = T;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.chunks.into_iter().flatten()
    }
}

/// Bytes of one chunk of texts; a longer text gets a chunk of its own.
const TEXT_BYTES: usize = 64 << 10;

/// Where a text is in its `Texts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    chunk: u32,
    start: u32,
    bytes: u32,
}

/// Many short texts stored one after another, without an allocation each. Only the last one can be removed.
#[derive(Default)]
pub(crate) struct Texts {
    chunks: Vec<String>,
}

impl Texts {
    /// Stores a text.
    pub fn push(&mut self, text: &str) -> Span {
        let fits = self.chunks.last().is_some_and(|last| last.len() + text.len() <= last.capacity());
        if !fits {
            let bytes = if self.chunks.is_empty() { 256 } else { TEXT_BYTES };
            self.chunks.push(String::with_capacity(bytes.max(text.len())));
        }
        let chunk = self.chunks.len() - 1;
        let start = self.chunks[chunk].len();
        self.chunks[chunk].push_str(text);
        Span { chunk: chunk as u32, start: start as u32, bytes: text.len() as u32 }
    }

    /// Removes the text that was stored last.
    pub fn remove_last(&mut self, span: Span) {
        if let Some(last) = self.chunks.get_mut(span.chunk as usize) {
            last.truncate(span.start as usize);
        }
    }

    /// A text that was stored here.
    #[inline]
    pub fn get(&self, span: Span) -> &str {
        let chunk = &self.chunks[span.chunk as usize];
        &chunk[span.start as usize..(span.start + span.bytes) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_at_the_edge_of_a_chunk() {
        let mut list = Chunks::default();
        for number in 0..CHUNK * 2 + 3 {
            assert_eq!(list.len(), number);
            list.push(number);
        }
        *list.get_mut(CHUNK).unwrap() += 0;
        assert!((0..list.len()).all(|number| list.get(number) == Some(&number)));
        assert_eq!(list.get(list.len()), None);
        for from in [0, 1, CHUNK - 1, CHUNK, CHUNK * 2 + 2, CHUNK * 2 + 3, CHUNK * 9] {
            assert!(list.from(from).copied().eq(from.min(list.len())..list.len()), "{from}");
        }
        assert!(list.into_iter().eq(0..CHUNK * 2 + 3));
    }

    #[test]
    fn texts_come_back() {
        let mut texts = Texts::default();
        let long = "x".repeat(TEXT_BYTES + 1);
        let kept: Vec<_> = (0..9_000).map(|number| texts.push(&format!("text-{number}"))).collect();
        let span = texts.push(&long);
        let empty = texts.push("");
        assert_eq!((texts.get(span), texts.get(empty)), (&long[..], ""));
        assert!(kept.iter().enumerate().all(|(number, span)| texts.get(*span) == format!("text-{number}")));
    }
}

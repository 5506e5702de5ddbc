//! The keys that let go of a terminal, in what is typed.

/// Looks for the keys in what is typed.
#[derive(Debug)]
pub struct Watch {
    keys: Vec<u8>,
    /// How many of them were typed one after the other.
    typed: usize,
}

impl Watch {
    /// Looks for these.
    pub fn new(keys: Vec<u8>) -> Self {
        Self { keys, typed: 0 }
    }

    /// What of the input goes to the container, and whether it is let go of now. Keys that may be the first of the
    /// sequence are held back until it is known.
    pub fn pass(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(input.len());
        for byte in input {
            if self.keys.is_empty() {
                passed.push(*byte);
                continue;
            }
            if *byte == self.keys[self.typed] {
                self.typed += 1;
                if self.typed == self.keys.len() {
                    return (passed, true);
                }
                continue;
            }
            passed.extend(&self.keys[..self.typed]);
            self.typed = usize::from(*byte == self.keys[0]);
            if self.typed == 0 {
                passed.push(*byte);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_found_however_it_is_cut() {
        let mut watch = Watch::new(vec![16, 17]);
        assert_eq!(watch.pass(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(watch.pass(b"c\x10\x10"), (b"\x10c\x10".to_vec(), false));
        assert_eq!(watch.pass(b"\x11rest"), (Vec::new(), true));
        let mut none = Watch::new(Vec::new());
        assert_eq!(none.pass(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}

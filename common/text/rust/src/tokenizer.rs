//! A Hugging Face fast tokenizer. Truncation and padding of the file are ignored, as
//! `transformers` does unless asked.

use tokenizers::Tokenizer;

pub struct TextTokenizer {
    inner: Tokenizer,
    vocab_size: u32,
}

fn one_line(error: impl ToString) -> String {
    error.to_string().replace('\n', " ")
}

impl TextTokenizer {
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let mut inner = Tokenizer::from_bytes(json).map_err(one_line)?;
        inner.with_truncation(None).map_err(one_line)?;
        inner.with_padding(None);
        let largest = inner.get_vocab(true).into_values().max();
        let vocab_size = match largest {
            None => 0,
            Some(id) if id < i32::MAX as u32 => id + 1,
            Some(id) => return Err(format!("token id {id} does not fit 31 bits")),
        };
        Ok(Self { inner, vocab_size })
    }

    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, String> {
        let encoding = self.inner.encode_fast(text, add_special).map_err(one_line)?;
        Ok(encoding.get_ids().to_vec())
    }

    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, String> {
        self.inner.decode(ids, skip_special).map_err(one_line)
    }

    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    pub fn token_to_id(&self, token: &str) -> i64 {
        self.inner.token_to_id(token).map_or(-1, i64::from)
    }
}

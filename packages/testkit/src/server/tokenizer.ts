/** Tokens that the chat template adds to the vocabulary. Text never contains them: their spelling in a message is plain text. */
const SPECIAL = [
  '<|endoftext|>',
  '<|im_start|>',
  '<|im_end|>',
  '<think>',
  '</think>',
  '<tool_call>',
  '</tool_call>',
] as const

export type SpecialToken = (typeof SPECIAL)[number]

export interface Token {
  readonly id: number
  readonly bytes: readonly number[]
  /** Decoded alone; an incomplete character is U+FFFD. */
  readonly text: string
  /** Whether the bytes alone are whole characters. */
  readonly whole: boolean
}

/** GPT-2's byte-pair encoding (`r50k_base`, 50,257 tokens) and the special tokens of the chat template after it. */
export interface Tokenizer {
  /** Ids of plain text. The array is shared: do not change it. */
  encode(text: string): readonly number[]
  /** The text of ids, special tokens spelled out. */
  decode(ids: Iterable<number>): string
  token(id: number): Token
  special(name: SpecialToken): number
  /** Number of ids, special ones included. */
  readonly size: number
}

const CACHED_TEXTS = 4096
const plain = { disallowedSpecial: new Set<string>() }
let loading: Promise<Tokenizer> | undefined

/** Loads the vocabulary on first use; one instance per process. */
export function loadTokenizer(): Promise<Tokenizer> {
  return (loading ??= load())
}

async function load(): Promise<Tokenizer> {
  const [{ encode }, { default: ranks }] = await Promise.all([
    import('gpt-tokenizer/encoding/r50k_base'),
    import('gpt-tokenizer/bpeRanks/r50k_base'),
  ])
  const first = ranks.length
  const size = first + SPECIAL.length
  const utf8 = new TextEncoder()
  const texts = new Map<string, readonly number[]>()
  const tokens = new Map<number, Token>()

  const bytesOf = (id: number): readonly number[] => {
    const entry = SPECIAL[id - first] ?? ranks[id]
    if (entry === undefined) throw new RangeError(`There is no token ${id}; ids go from 0 to ${size - 1}.`)
    return typeof entry === 'string' ? [...utf8.encode(entry)] : entry
  }
  const token = (id: number): Token => {
    let known = tokens.get(id)
    if (known === undefined) {
      const bytes = bytesOf(id)
      const shown = decodeBytes(bytes)
      known = {
        id,
        bytes,
        text: shown,
        whole: utf8.encode(shown).length === bytes.length && !shown.includes('\uFFFD'),
      }
      tokens.set(id, known)
    }
    return known
  }
  return {
    size,
    token,
    special: (name) => first + SPECIAL.indexOf(name),
    encode: (text) => {
      let ids = texts.get(text)
      if (ids === undefined) {
        if (texts.size >= CACHED_TEXTS) texts.clear()
        ids = encode(text, plain)
        texts.set(text, ids)
      }
      return ids
    },
    decode: (ids) => decodeBytes(Array.from(ids, (id) => token(id).bytes).flat()),
  }
}

export function decodeBytes(bytes: readonly number[]): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes))
}

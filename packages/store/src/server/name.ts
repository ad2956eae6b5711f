/** How our own client knows that it speaks with us, and may ask for more than Agent Lightning's API. */
export const SERVER_NAME = 'agl-store'

/**
 * What our own client learns of the spans that it sent beyond what OTLP has words for, as JSON in a header of the
 * answer: `added`, `duplicates`, `refused`, and in `missing` why some were, where a rollout or attempt is not there.
 */
export const RESULT_HEADER = 'agl-result'

/** Tokens that come out of a header as they went in: Latin-1, and no space around them. */
export const TOKEN: RegExp = /^[!-~\x80-\xff]+( +[!-~\x80-\xff]+)*$/

/** Token ids while they are being collected. Short lists stay plain, since adding to them is cheap. */
export type IdList = Int32Array | number[]

export function isId(id: unknown): id is number {
  return typeof id === 'number' && (id | 0) === id && id >= 0
}

/**
 * `into` with the ids of `items` behind it; undefined where `items` is no list of ids, and then `into` is as it was. A
 * first long list, as a prompt is, becomes its final form at once.
 */
export function appendIds(into: IdList | undefined, items: unknown): IdList | undefined {
  if (!Array.isArray(items)) return undefined
  if (into === undefined && items.length > 64) return typedIds(items)
  const list = into === undefined ? [] : Array.isArray(into) ? into : Array.from(into)
  const before = list.length
  for (let i = 0; i < items.length; i++) {
    const id: unknown = items[i]
    if (!isId(id)) {
      list.length = before
      return undefined
    }
    list.push(id)
  }
  return list
}

/** By a loop: the constructor and `from` take ten times as long for a plain list. Undefined where not all are ids. */
export function typedIds(list: readonly unknown[] | Int32Array): Int32Array | undefined {
  if (list instanceof Int32Array) return list
  const ids = new Int32Array(list.length)
  for (let i = 0; i < ids.length; i++) {
    const id = list[i]
    if (!isId(id)) return undefined
    ids[i] = id
  }
  return ids
}

export function sameIds(a: IdList, b: IdList | undefined): boolean {
  if (a === b) return true
  if (a.length !== b?.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

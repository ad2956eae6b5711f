import type { EnclosingSpans } from './enclosing.ts'
import { preorder, type TraceNode } from './tree.ts'

/**
 * Finds a span among n in O(log² n) time, and one step more for each that fits as tightly; takes O(n log n) space.
 *
 * It needs times of which no sum or difference is rounded. The time to spare between a span and one that it encloses is
 * then the difference of their lengths: of all that enclose it, the shortest is the one.
 */
export class SortedSpans implements EnclosingSpans {
  readonly #places = new Map<TraceNode, Place>()
  readonly #byStart: readonly Place[]
  /** Places of one length, by start time. */
  readonly #byLength = new Map<number, Place[]>()
  /** A Fenwick tree: at `i`, the places of `#byStart` from index `i - (i & -i)` on and before `i`. */
  readonly #blocks: readonly Block[]
  #order = 0

  /** Undefined where times are missing or would be rounded. */
  static of(tops: readonly TraceNode[]): SortedSpans | undefined {
    const places: Place[] = []
    for (const node of tops.flatMap((top) => preorder(top))) {
      const { start, end } = node
      if (start === null || end === null) return undefined
      places.push(new Place(node, start, end))
    }
    return areExact(places) ? new SortedSpans(places) : undefined
  }

  /** @param places parents before their children, and siblings in their order */
  private constructor(places: readonly Place[]) {
    for (const place of places) this.#places.set(place.node, place)
    for (const place of places) {
      place.order = this.#order++
      for (const child of place.node.children) this.#at(child).above = place
    }
    this.#byStart = places.toSorted((a, b) => a.start - b.start)
    this.#blocks = Array.from({ length: places.length + 1 }, () => new Block())
    for (const [index, place] of this.#byStart.entries()) {
      place.index = index
      const same = this.#byLength.get(place.length)
      if (same === undefined) this.#byLength.set(place.length, [place])
      else same.push(place)
    }
    for (const place of places.toSorted((a, b) => a.end - b.end))
      for (const block of this.#blocksOf(place)) block.add(place)
  }

  tightest(top: TraceNode): TraceNode | undefined {
    const { start, end } = this.#at(top)
    // One that has the same times does not enclose it: one of the two must differ.
    const length = Math.min(this.#shortest(start, end, true, false), this.#shortest(start, end, false, true))
    const candidates = this.#byLength.get(length) ?? []
    let first: Place | undefined
    for (let i = countBelow(candidates, 'start', end - length, false); i < candidates.length; i++) {
      const place = candidates[i]
      if (place === undefined || place.start > start) break
      if (place.isThere && (first === undefined || isBefore(place, first))) first = place
    }
    return first?.node
  }

  isBelow(node: TraceNode, top: TraceNode): boolean {
    return topOf(this.#at(node)) === this.#at(top)
  }

  move(top: TraceNode, parent: TraceNode): void {
    const place = this.#at(top)
    place.above = this.#at(parent)
    place.order = this.#order++
  }

  remove(branch: readonly TraceNode[]): void {
    for (const node of branch) {
      const place = this.#at(node)
      place.isThere = false
      for (const block of this.#blocksOf(place)) block.remove(place)
    }
  }

  /** The least length of those that start before `start` (or then) and end after `end` (or then). */
  #shortest(start: number, end: number, startToo: boolean, endToo: boolean): number {
    let least = Number.POSITIVE_INFINITY
    for (let i = countBelow(this.#byStart, 'start', start, startToo); i > 0; i -= i & -i)
      least = Math.min(least, this.#blocks[i]?.shortest(end, endToo) ?? least)
    return least
  }

  *#blocksOf({ index }: Place): Generator<Block> {
    for (let i = index + 1; i < this.#blocks.length; i += i & -i) {
      const block = this.#blocks[i]
      if (block !== undefined) yield block
    }
  }

  #at(node: TraceNode): Place {
    const place = this.#places.get(node)
    if (place === undefined) throw new RangeError(`The span ${node.id} is not among those given.`)
    return place
  }
}

class Place {
  readonly node: TraceNode
  readonly start: number
  readonly end: number
  readonly length: number
  /** By start time. */
  index = 0
  /** Undefined at the top of a branch. */
  above: Place | undefined
  /** Grows from one child of a span to the next. */
  order = 0
  isThere = true
  /** Further up, to get to the top in leaps. */
  leap: Place | undefined

  constructor(node: TraceNode, start: number, end: number) {
    this.node = node
    this.start = start
    this.end = end
    this.length = end - start
  }
}

/** Some places by end time, and the least length of those from any of them on. */
class Block {
  readonly #places: Place[] = []
  /** The lengths from index n on, of n; before them, at `i`, the lesser of those at `2i` and `2i + 1`. */
  #least: Float64Array | undefined

  /** For all at first, in order of their ends. */
  add(place: Place): void {
    this.#places.push(place)
  }

  shortest(end: number, endToo: boolean): number {
    const tree = this.#tree()
    let least = Number.POSITIVE_INFINITY
    let from = this.#places.length + countBelow(this.#places, 'end', end, !endToo)
    for (let to = tree.length; from < to; from >>= 1, to >>= 1) {
      if ((from & 1) === 1) least = Math.min(least, tree[from++] ?? least)
      if ((to & 1) === 1) least = Math.min(least, tree[--to] ?? least)
    }
    return least
  }

  remove(place: Place): void {
    const tree = this.#tree()
    const size = this.#places.length
    let i = countBelow(this.#places, 'end', place.end, false)
    while (this.#places[i] !== place && i < size) i++
    tree[size + i] = Number.POSITIVE_INFINITY
    for (i = (size + i) >> 1; i > 0; i >>= 1) tree[i] = lesser(tree, i)
  }

  #tree(): Float64Array {
    if (this.#least !== undefined) return this.#least
    const size = this.#places.length
    const tree = new Float64Array(2 * size).fill(Number.POSITIVE_INFINITY)
    for (const [i, { length }] of this.#places.entries()) tree[size + i] = length
    for (let i = size - 1; i > 0; i--) tree[i] = lesser(tree, i)
    this.#least = tree
    return tree
  }
}

function lesser(tree: Float64Array, i: number): number {
  return Math.min(tree[2 * i] ?? Number.POSITIVE_INFINITY, tree[2 * i + 1] ?? Number.POSITIVE_INFINITY)
}

/** How many of `places`, which are sorted by `key`, are below `limit`, or at it if `limitToo`. */
function countBelow(
  places: readonly Place[],
  key: 'start' | 'end',
  limit: number,
  limitToo: boolean,
): number {
  let low = 0
  let high = places.length
  while (low < high) {
    const middle = (low + high) >> 1
    const value = places[middle]?.[key] ?? Number.POSITIVE_INFINITY
    if (value < limit || (limitToo && value === limit)) low = middle + 1
    else high = middle
  }
  return low
}

/** Whether `a` comes before `b` from the top down. */
function isBefore(a: Place, b: Place): boolean {
  if (a.above === b.above) return a.order < b.order
  const [path, other] = [pathTo(a), pathTo(b)]
  let i = 0
  while (i < path.length && path[i] === other[i]) i++
  const [here, there] = [path[i], other[i]]
  return here === undefined || (there !== undefined && here.order < there.order)
}

/** The top of the branch that a place is in. */
function topOf(place: Place): Place {
  const passed: Place[] = []
  let top = place
  for (let next = top.leap ?? top.above; next !== undefined; next = top.leap ?? top.above) {
    passed.push(top)
    top = next
  }
  for (const one of passed) one.leap = top
  return top
}

function pathTo(place: Place): Place[] {
  const path: Place[] = []
  for (let next: Place | undefined = place; next !== undefined; next = next.above) path.push(next)
  return path.toReversed()
}

/** Whether sums of the times, as they occur here, need no more than the 53 bits that a number has. */
function areExact(places: readonly Place[]): boolean {
  let [least, most, largest] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0]
  for (const { start, end } of places) {
    least = Math.min(least, start, end)
    most = Math.max(most, start, end)
    largest = Math.max(largest, Math.abs(start), Math.abs(end))
  }
  const bound = largest + 2 * (most - least)
  if (!Number.isFinite(bound)) return false
  let unit = 1
  while (unit * 2 ** 53 < bound) unit *= 2
  while (unit > Number.MIN_VALUE && (unit / 2) * 2 ** 53 >= bound) unit /= 2
  return places.every(({ start, end }) => start % unit === 0 && end % unit === 0)
}

/**
 * Whether a base URL is one's own: loopback, a private network, or a host name without a dot, as in a compose file.
 * Hosted APIs may answer 400 to fields that they do not know, so those are touched only when listed.
 */
export function isLocalServer(baseURL: string): boolean {
  let host: string
  try {
    host = new URL(baseURL).hostname.toLowerCase()
  } catch {
    return false
  }
  if (host.startsWith('[')) return isLocalIPv6(host.slice(1, -1))
  const parts = host.split('.')
  if (parts.length === 4 && parts.every((part) => /^\d+$/.test(part))) return isLocalIPv4(parts.map(Number))
  return host === 'localhost' || host.endsWith('.localhost') || !host.includes('.')
}

function isLocalIPv4([a = 0, b = 0]: number[]): boolean {
  return (
    a === 127 ||
    a === 10 ||
    a === 0 ||
    (a === 192 && b === 168) ||
    (a === 172 && b >= 16 && b <= 31) ||
    (a === 169 && b === 254)
  )
}

/** Loopback, unique local (fc00::/7), link local (fe80::/10), and IPv4 addresses written as IPv6. */
function isLocalIPv6(host: string): boolean {
  if (host === '::1' || host === '::') return true
  const mapped = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(host)
  if (mapped !== null) {
    const high = Number.parseInt(mapped[1] ?? '', 16)
    return isLocalIPv4([high >> 8, high & 255])
  }
  return /^f[cd]/.test(host) || /^fe[89ab]/.test(host)
}

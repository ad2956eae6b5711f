import { Socket as UDPSocket } from 'node:dgram'
import { Socket } from 'node:net'

const attempts: string[] = []

/** Every address that this process tried to reach since `guardNetwork`; none was reached. */
export function attemptsToConnect(): readonly string[] {
  return attempts
}

/** Refuses and remembers every connection out of this process, and tries itself once whether it does. */
export async function guardNetwork(): Promise<void> {
  const refuse = (what: string): never => {
    attempts.push(what)
    throw new Error(`This process may connect to nothing, and tried ${what}.`)
  }
  Socket.prototype.connect = (...args: unknown[]) => refuse(JSON.stringify(args[0] ?? null))
  UDPSocket.prototype.send = () => refuse('a datagram')
  UDPSocket.prototype.connect = () => refuse('a datagram')
  // Of a port that `fetch` does not refuse by itself.
  await fetch('http://127.0.0.1:65535/').catch(() => undefined)
  if (attempts.length === 0) throw new Error('The guard of the network did not see a connection.')
  attempts.length = 0
}

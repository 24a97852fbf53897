// Datagrams between nodes: UDP at the address and port number at which a node listens for TLS.
//
// For a thread of its own (realtime_thread.h): nothing here blocks, waits or knows a Loop. A datagram is lost, doubled,
// delayed, overtaken or made up by anybody; what one is worth its seal tells (pki/sealed_channel.h).
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "base/fd.h"
#include "base/result.h"
#include "io/endpoint.h"

namespace perdure::io {

// With 48 bytes of IPv6 and UDP headers below 1280, which every link of IPv6 carries and so does every IPv4 network that is
// used: no datagram is cut into fragments, of which the loss of one would be the loss of all.
inline constexpr std::size_t kMaxDatagramBytes = 1200;

class DatagramSocket {
 public:
  // A port of 0 takes any; "[::]" is IPv6 only. kConflict: the address is in use. kInvalid: none of this host.
  static Result<DatagramSocket> bind(const Endpoint& endpoint);

  // At once or not at all: what the kernel does not take now is lost, as it may be on the way. Errors name both ends.
  // kInvalid: larger than kMaxDatagramBytes, or of the other family. kTransient: no buffer is free (EAGAIN, ENOBUFS,
  // ENOMEM), or there is no way to this address now (ENETUNREACH, EHOSTUNREACH, ENETDOWN, EADDRNOTAVAIL): the next one may
  // pass. kPermission: a firewall of this host. kIo. Success says that the kernel has it, not that anybody listens there.
  Status send(const Endpoint& to, std::span<const std::byte> datagram);

  struct Received {
    Endpoint from;
    std::span<const std::byte> bytes;  // the beginning of `into`; empty: it was, or it was larger than kMaxDatagramBytes
  };
  // One datagram; absent: none waits. An error is the socket's, and told once: receive() may be called again.
  Result<std::optional<Received>> receive(std::span<std::byte, kMaxDatagramBytes> into);

  int fd() const { return socket_.get(); }  // readable: receive()
  const Endpoint& address() const { return address_; }  // as bound

 private:
  DatagramSocket(UniqueFd socket, const Endpoint& address) : socket_(std::move(socket)), address_(address) {}

  UniqueFd socket_;
  Endpoint address_;
};

}  // namespace perdure::io

// What the peers of a rolled-back container's TCP connections know.
//
// A bare ACK whose sequence number lies just below the window makes a peer answer with a bare ACK
// of its own (RFC 9293 section 3.10.7.4), which tells its RCV.NXT and SND.NXT. Compared with the
// restored socket, that tells whether the connection can go on as it is.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "network/address.h"

namespace perdure::network {

struct RestoredSocket {
  Endpoint local;
  Endpoint remote;
  std::uint32_t snd_una = 0;  // oldest byte the peer had not acknowledged at the checkpoint
  std::uint32_t snd_nxt = 0;  // end of the send queue at the checkpoint, FIN included
  std::uint32_t rcv_nxt = 0;  // next byte expected from the peer at the checkpoint
  std::uint16_t window = 0;   // offered to the peer, as on the wire
  // Which side had been closed: what it has sent ends with its FIN, which counts as one byte.
  bool shut_by_container = false;
  bool shut_by_peer = false;
  // The socket's own timestamp clock at the checkpoint (TCP_TIMESTAMP), if the option is in use.
  std::optional<std::uint32_t> timestamp;
};

struct PeerAnswer {
  bool reset = false;                           // an RST: the peer does not know the connection
  std::uint32_t rcv_nxt = 0;                    // of the peer, if not reset
  std::uint32_t snd_nxt = 0;                    // of the peer, if not reset
  std::uint16_t window = 0;                     // as on the wire, unscaled
  std::optional<std::uint32_t> timestamp;       // TSval: the peer's clock
  std::optional<std::uint32_t> timestamp_echo;  // TSecr: the last of our timestamps it has seen
  MacAddress next_hop;                          // where the frames to it go
  // What the restored socket had sent and acknowledged when the peer answered: the end of its data,
  // its acknowledgement. Nothing, if that was no more than at the checkpoint. Of a connection that has begun since between
  // the same ends: that one's.
  struct Said {
    std::uint32_t end = 0;
    std::uint32_t acknowledged = 0;
  };
  std::optional<Said> said;
};

enum class PeerState {
  kUnmoved,   // it goes on as it is
  kMoved,     // the peer has received or been acknowledged bytes that the restored socket does not
              // know of
  kGone,      // the peer does not know the connection
  kNoAnswer,  // silent within the deadline: may be cut off, may be dead
};
std::string_view to_string(PeerState state);

// Pure. The peer received: unmoved only if its RCV.NXT lies within SND.UNA..SND.NXT of the socket.
// The peer sent: unmoved if its SND.NXT is the socket's RCV.NXT. If the peer is ahead, its bytes
// are either still unacknowledged (it will send them again: unmoved) or were acknowledged by the
// lost life (moved): that is told by the timestamps (the peer has seen none later than the
// checkpoint: unmoved); without them, moved. Once the restored socket has spoken, what it has said
// since counts instead.
PeerState classify(const RestoredSocket& socket, const std::optional<PeerAnswer>& answer);

// Where a connection whose peer has moved on can go on, if not where it was.
struct SplicePoint {
  std::uint32_t snd_una = 0;  // the peer has everything before, of whichever life
  std::uint32_t rcv_nxt = 0;  // nothing before comes any more
  bool operator==(const SplicePoint&) const = default;
};

// Pure. Nothing: the peer does not know the connection, is behind what it had acknowledged or sent, or has gone on behind
// the end of a side that was closed. The peer's bytes that are still to be acknowledged, if that can be told (see
// classify()), are not skipped. For answers from before the restored socket spoke.
std::optional<SplicePoint> splice_point(const RestoredSocket& socket, const PeerAnswer& answer);

struct ProbePath {
  int netns = -1;      // descriptor of the container's network namespace: routes and neighbours
  std::string bridge;  // where the container is attached
  std::string host_interface;  // the host end of its veth, where answers pass
  MacAddress mac;              // of the container
};

struct ProbeOptions {
  Duration deadline = std::chrono::milliseconds(100);  // for all peers together
  // How many of the sockets, from the first on, are waited for; the others' answers may come with probe_on(). Nothing:
  // all are.
  std::optional<std::size_t> awaited{};
  std::stop_token stop{};  // looked at every 2 ms
};

// The container's gate has to keep its own RST back (kRstGuard, kArpOnly or kLocked), else its
// kernel may answer a peer's answer before the restore; the input must not be locked. Frames go
// through the bridge beside the gate. Not for several threads at once.
//
// Open it before the restore and drop it after the gate has opened: closing its packet sockets
// waits for two RCU grace periods, together 10 to 40 ms.
class PeerProber {
 public:
  // The descriptor in `path` must stay open. kNotFound names a missing link.
  static Result<PeerProber> open(const ProbePath& path);
  PeerProber(PeerProber&&) noexcept;
  PeerProber& operator=(PeerProber&&) noexcept;
  ~PeerProber();

  // Asks all peers in parallel; one result per socket, in order. A socket whose next hop cannot be
  // found, or whose other end is in the container itself, has no answer. Errors only if no probe
  // could be sent at all.
  Result<std::vector<std::optional<PeerAnswer>>> probe(const std::vector<RestoredSocket>& sockets,
                                                       const ProbeOptions& options = {});
  // Goes on with those that have not answered; the gate may be open and the sockets in use by then.
  // The results of all calls together. A peer that has sent what the restored socket does not
  // acknowledge within a second has answered with that.
  Result<std::vector<std::optional<PeerAnswer>>> probe_on(const ProbeOptions& options);
  // Ends the peer's side: RST with exactly the sequence number it expects (RFC 5961 section 3.2). A
  // peer that moved on since its answer replies with a challenge; probe again then. kInvalid if the
  // answer is a reset.
  Status reset(const RestoredSocket& socket, const PeerAnswer& answer);
  // For a connection that goes on: what would wait for a timer of one of the ends is sent or asked for at once. The
  // container's socket must be there. `socket`, as it was restored; `answer`, with which the peer does not lack what it
  // had acknowledged; `queue`, see send_again().
  //
  // The peer gets an acknowledgement of what the socket has. If it has sent more, it hears in addition that this was
  // lost: a stack that knows RFC 6069 takes its back-off back and retransmits, after 200 ms at the latest if it is
  // Linux. The socket gets an answer of the peer's, which tells it the window: what waits to be sent goes.
  Status go_on(const RestoredSocket& socket, const PeerAnswer& answer, std::string_view queue);
  // Sends the socket's queue in its name, from what the peer lacks by its answer on. The acknowledgement goes to the
  // socket, which finds out from it what is missing still; by itself it would wait for a retransmission timer of a
  // second. `queue`: what it had sent from SND.UNA on, or the beginning of that. Nothing is sent if the peer has all of
  // it. What the host has no room for at once is left to that timer.
  Status send_again(const RestoredSocket& socket, const PeerAnswer& answer, std::string_view queue);
  // Ends the container's side as its peer would, so that the application sees ECONNRESET. Without
  // effect on a socket that has received anything since the checkpoint: destroy_socket() afterwards
  // ends whatever is left.
  Status reset_socket(const RestoredSocket& socket);

 private:
  struct Impl;
  explicit PeerProber(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

using SocketCookie = std::array<std::uint32_t, 2>;  // the kernel's name of a socket, never used again

struct TcpSocketInfo {
  TcpTuple tuple;
  SocketCookie cookie{};
  bool shut_by_peer = false;        // its FIN has been received
  std::uint32_t receive_queue = 0;  // bytes the application has not read
  std::uint32_t send_queue = 0;     // bytes the peer has not acknowledged
  unsigned retransmissions = 0;     // timeouts since the peer has last acknowledged anything
  std::uint64_t inode = 0;
};

// The connections of a namespace that have a peer: established, and half closed by either side.
Result<std::vector<TcpSocketInfo>> list_established(int netns_fd);

// Aborts what the processes of a dead life left behind: connections in every state but listening,
// TIME-WAIT included. They would keep a restore from taking their addresses and ports. The gate
// must keep RST back.
Status clear_connections(int netns_fd);

// Aborts the local socket: its application sees ECONNABORTED. Never a listening one. kNotFound: no such
// connection; kUnsupported: the kernel lacks INET_DIAG_DESTROY.
Status destroy_socket(int netns_fd, const TcpTuple& tuple);

}  // namespace perdure::network

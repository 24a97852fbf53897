// Asking hosts on a link and hearing who answers: shared by announce.h and reach.h.
#pragma once

#include <functional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "network/address.h"
#include "network/announce.h"
#include "network/frame.h"

namespace perdure::network {

struct LinkQuestion {
  std::string bridge;
  Duration deadline{};  // how long to listen
  unsigned probes = 1;  // rounds of questions, spread over the first half of the deadline
};

// `own`: the bridge's MAC, from which is asked.
struct LinkAsker {
  std::function<Status(Injector& injector, const MacAddress& own)> ask;       // one round
  std::function<void(FrameView frame, const MacAddress& own)> hear;           // ARP and neighbour discovery
  std::function<bool()> enough;
};

// Until there is enough, or the deadline has passed. kNotFound: no such bridge. Blocks.
Status ask_link(const LinkQuestion& question, const LinkAsker& asker);

}  // namespace perdure::network

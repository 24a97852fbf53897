// How badly things go at the moment; all zero: nothing fails.
#pragma once

#include "base/clock.h"

namespace perdure::sim {

// Of a datagram, of a request to the store.
inline constexpr Duration kLongestDelay = std::chrono::seconds(3);

struct Weather {
  // Datagrams, each by itself.
  unsigned lost_permille = 0;
  unsigned doubled_permille = 0;
  unsigned late_permille = 0;
  Duration latest{};
  // Of the store: requests and answers.
  unsigned store_failed_permille = 0;  // the client says "not known"; executed all the same, or not
  unsigned store_lost_permille = 0;    // answers, after the request was executed
  unsigned store_late_permille = 0;    // requests, executed that much later
  Duration store_latest{};
  unsigned watch_late_permille = 0;
  // Of a node.
  unsigned late_thread_permille = 0;  // a timer that fires when its thread gets to run
  Duration thread_latest{};
  unsigned restore_fails_permille = 0;
  unsigned taker_dies_permille = 0;  // who has become the owner, before anything of it is on its disk or held elsewhere
};

}  // namespace perdure::sim

// A network interface of the host becomes a port of a bridge, if the operator can say afterwards that the host
// is still reachable (network/enslave.h). One of the steps of run and start. Loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "io/loop.h"
#include "io/pool.h"
#include "network/enslave.h"

namespace perdure::node {

// For an answer; then everything goes back to what it was. The kernel may need some seconds to let frames
// through the new bridge, and so may a switch that sees the host behind another MAC.
inline constexpr Duration kNicAnswerTime = std::chrono::seconds(30);

enum class NicConsent { kNo, kYes };

class NicChange {
 public:
  struct Handlers {
    // To be put to the operator; answered() takes what he says.
    std::function<void(const std::string& text, Duration deadline)> ask;
    // Without consent: what would happen. Nothing has been changed, `done` does not follow.
    std::function<void(const std::string& text)> consent_needed;
    // Once: the port is in its bridge (it may have been there already), or everything is as it was.
    std::function<void(Status)> done;
  };

  NicChange(io::Loop& loop, io::Pool& pool, network::EnslaveRequest request, Handlers handlers);
  // What is not confirmed goes back, on a thread of the pool.
  ~NicChange() = default;

  void begin(NicConsent consent);
  void answered(bool yes);

 private:
  struct Outcome {
    std::string consent_text;                     // not empty: ask for consent
    std::shared_ptr<network::Enslavement> made;   // null: it was there
  };
  static Result<Outcome> change(const network::EnslaveRequest& request, NicConsent consent, io::Loop& loop,
                                io::Pool& pool);
  void changed(Result<Outcome> outcome);
  void settle(Status status);

  io::Loop& loop_;
  io::Pool& pool_;
  const network::EnslaveRequest request_;
  const Handlers handlers_;
  std::shared_ptr<network::Enslavement> made_;
  bool asking_ = false;
  io::Timer deadline_;
  io::Lifetime lifetime_;
};

}  // namespace perdure::node

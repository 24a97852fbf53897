// A request whose work is done by the pool, and which tells meanwhile what that is at, so that its client knows that it lives.
// Loop thread only, but for the function that the work is given.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "io/timers.h"
#include "node/control_request.h"

namespace perdure::node {

class TellingRequest : public ControlRequest {
 public:
  using ControlRequest::ControlRequest;

 protected:
  using Tell = std::function<void(std::string_view)>;  // any thread, also when the request is gone

  // `stage` is one of Progress; the texts begin with `before`.
  Tell begin_telling(std::string stage, std::string before, std::string first) {
    stage_ = std::move(stage);
    before_ = std::move(before);
    now_->text = std::move(first);
    tick();
    return [now = now_](std::string_view text) {
      const std::scoped_lock lock(now->mutex);
      now->text = text;
    };
  }

 private:
  // Clients wait ten seconds for a sign of life when they only ask.
  static constexpr Duration kTick = std::chrono::seconds(2);

  struct Now {
    std::mutex mutex;
    std::string text;
  };

  void tick() {
    tick_ = node().loop().after(kTick, [this] {
      if (is_finished()) return;
      control::v1::Response response;
      response.mutable_progress()->set_stage(stage_);
      {
        const std::scoped_lock lock(now_->mutex);
        response.mutable_progress()->set_text(before_ + now_->text);
      }
      if (send(std::move(response))) tick();
    });
  }

  std::string stage_;
  std::string before_;
  const std::shared_ptr<Now> now_ = std::make_shared<Now>();
  io::Timer tick_;
};

}  // namespace perdure::node

// Several asynchronous steps, and what follows when all of them have ended.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

namespace perdure::io {

// `done` is called once: within all_begun() if everything has ended by then, else by who ends last. Loop thread only.
class WhenAll {
 public:
  explicit WhenAll(std::function<void()> done) : state_(std::make_shared<State>(std::move(done))) {}

  // One more has begun; whoever ends it calls the result, once. Before all_begun().
  std::function<void()> begin() {
    ++state_->open;
    return [state = state_] { end(*state); };
  }
  void all_begun() { end(*state_); }  // once

 private:
  struct State {
    explicit State(std::function<void()> what) : done(std::move(what)) {}
    std::size_t open = 1;  // the beginning itself
    std::function<void()> done;
  };
  static void end(State& state) {
    if (--state.open == 0) std::exchange(state.done, nullptr)();
  }

  std::shared_ptr<State> state_;
};

}  // namespace perdure::io

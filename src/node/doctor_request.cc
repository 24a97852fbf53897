// doctor: the checks run on the pool; what they are at is told meanwhile.
#include <memory>
#include <mutex>

#include "node/control_request.h"
#include "node/doctor.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

// Clients wait ten seconds for a sign of life when they only ask.
constexpr Duration kTick = std::chrono::seconds(2);

class DoctorRequest final : public ControlRequest {
 public:
  using ControlRequest::ControlRequest;

  void begin() override {
    auto slot = take_transfer();
    if (!slot) return fail(slot.error());
    const HostServices& host = node().host();
    DoctorOptions options;
    options.paths = host.paths;
    if (!host.facts.runc.path.empty()) options.programs.runc = host.facts.runc.path;
    if (!host.facts.criu.path.empty()) options.programs.criu = host.facts.criu.path;
    options.tracking = host.tracking;
    options.metrics_address = node().metrics_state().address;
    options.metrics_trouble = node().metrics_state().trouble;
    if (host.exit_hook == nullptr) options.no_hook = "it could not be installed when perdured began";
    auto work = [slot = *std::move(slot), options, now = now_] {
      return examine_host(options, [&now](std::string_view check) {
        const std::scoped_lock lock(now->mutex);
        now->check = check;
      });
    };
    const Status submitted = node().pool().submit(node().loop(), lifetime_, std::move(work),
                                                  [this](v1::DoctorReport report) {
                                                    v1::Response response;
                                                    *response.mutable_doctor() = std::move(report);
                                                    finish(std::move(response));
                                                  });
    if (!submitted) return fail(submitted.error(), "try again in a moment");
    tick();
  }

 private:
  struct Now {
    std::mutex mutex;
    std::string check;
  };

  void tick() {
    tick_ = node().loop().after(kTick, [this] {
      if (is_finished()) return;
      v1::Response response;
      response.mutable_progress()->set_stage("check");
      {
        const std::scoped_lock lock(now_->mutex);
        response.mutable_progress()->set_text("checking: " + now_->check);
      }
      if (send(std::move(response))) tick();
    });
  }

  const std::shared_ptr<Now> now_ = std::make_shared<Now>();
  io::Timer tick_;
};

}  // namespace

std::unique_ptr<ControlRequest> make_doctor_request(RequestSetup setup) {
  return std::make_unique<DoctorRequest>(std::move(setup));
}

}  // namespace perdure::node

// doctor: the checks run on the pool; what they are at is told meanwhile.
#include <memory>

#include "node/doctor.h"
#include "node/telling_request.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

class DoctorRequest final : public TellingRequest {
 public:
  using TellingRequest::TellingRequest;

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
    auto work = [slot = *std::move(slot), options, tell = begin_telling("check", "checking: ", "the host")] {
      return examine_host(options, tell);
    };
    const Status submitted = node().pool().submit(node().loop(), lifetime_, std::move(work),
                                                  [this](v1::DoctorReport report) {
                                                    v1::Response response;
                                                    *response.mutable_doctor() = std::move(report);
                                                    finish(std::move(response));
                                                  });
    if (!submitted) fail(submitted.error(), "try again in a moment");
  }
};

}  // namespace

std::unique_ptr<ControlRequest> make_doctor_request(RequestSetup setup) {
  return std::make_unique<DoctorRequest>(std::move(setup));
}

}  // namespace perdure::node

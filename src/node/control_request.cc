#include "node/control_request.h"

#include <format>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

// A client that hears nothing for long takes the daemon for dead (cli: five minutes).
constexpr Duration kProgressTick = std::chrono::seconds(10);

}  // namespace

// ---- Any request ----

Result<TransferSlot> TransferSlot::take(std::shared_ptr<std::atomic<int>> taken) {
  if (taken->fetch_add(1) < kMaxTransfers) return TransferSlot(std::move(taken));
  taken->fetch_sub(1);
  return perdure::fail(ErrorCode::kTransient,
                       std::format("{} exports or imports are under way; wait for one of them", kMaxTransfers));
}

TransferSlot::~TransferSlot() {
  if (taken_) taken_->fetch_sub(1);
}

void ControlRequest::drained() {}

void ControlRequest::answered(std::uint32_t, bool) {}

bool ControlRequest::send(v1::Response response) {
  response.set_id(message().id());
  const Status sent = setup_.host.send(setup_.connection, response);
  if (!sent && sent.error().code() != ErrorCode::kNotFound) log::warning("{}", sent.error().message());
  return sent.has_value();
}

void ControlRequest::finish(v1::Response response) {
  PERDURE_ASSERT(!finished_);
  finished_ = true;
  send(std::move(response));
  setup_.host.finished(setup_.connection, message().id());
}

void ControlRequest::fail(v1::Error error) {
  v1::Response response;
  *response.mutable_error() = std::move(error);
  finish(std::move(response));
}

void ControlRequest::fail(const Error& error, std::string_view remedy) { fail(to_proto(error, remedy)); }

void ControlRequest::settle(ContainerService& service, model::DesiredState desired,
                            std::function<void(ContainerService&)> then) {
  ContainerCluster* cluster = node().cluster();
  if (cluster == nullptr || !cluster->member()) return then(service);
  cluster->settle(service.spec().name, desired,
                  [this, token = lifetime_.token(), name = service.spec().name.str(), then = std::move(then)](const Status& settled) {
                    if (!token.alive() || is_finished()) return;
                    if (!settled) return fail(settled.error());
                    if (ContainerService* found = find_or_fail(name)) then(*found);
                  });
}

ContainerService* ControlRequest::find_or_fail(const std::string& name) {
  const auto parsed = ContainerName::parse(name);
  if (!parsed) {
    fail(parsed.error());
    return nullptr;
  }
  ContainerService* service = node().find(*parsed);
  const ContainerCluster* cluster = node().cluster();
  if (service == nullptr && cluster != nullptr && cluster->row_of(*parsed)) {
    fail(Error(ErrorCode::kTransient, std::format("container '{}' is on its way to this node, or was, and does not run here yet", name)),
         "try again in a moment; 'perdure inspect' and 'perdure events' show how far it is");
    return nullptr;
  }
  if (service == nullptr || service->removed()) {
    fail(Error(ErrorCode::kNotFound, std::format("there is no container '{}'", name)),
         "'perdure list' shows the containers of this host");
    return nullptr;
  }
  return service;
}

// ---- One that waits ----

ContainerRequest::~ContainerRequest() {
  if (service_ != nullptr) service_->remove_listener(listener_);
}

void ContainerRequest::wait_for(ContainerService& service, Duration limit) {
  PERDURE_ASSERT(service_ == nullptr);
  service_ = &service;
  name_ = service.spec().name.str();
  listener_ = service.add_listener([this] { changed(); });
  deadline_ = node().loop().after(limit, [this, limit] {
    if (is_finished()) return;
    fail(Error(ErrorCode::kTimeout,
               std::format("container '{}': not done after {}; it goes on", name_, format_duration(limit))),
         std::format("'perdure inspect {}' shows how far it is", name_));
  });
  keep_telling();
  look_soon();
}

void ContainerRequest::changed() {
  if (service_->removed()) {
    release_error_ = service_->release_error();
    service_->remove_listener(listener_);
    service_ = nullptr;
  }
  look_soon();
}

// Later: the change may be half done, and what look() does may change the container again.
void ContainerRequest::look_soon() {
  if (look_posted_) return;
  look_posted_ = true;
  node().loop().post([this, token = lifetime_.token()] {
    if (!token.alive()) return;
    look_posted_ = false;
    if (is_finished()) return;
    if (service_ == nullptr) return gone(release_error_);
    tell_progress();
    look(*service_);
  });
}

void ContainerRequest::tell_progress() {
  std::string now = service_->progress_stage() + "\n" + service_->progress_text();
  if (service_->progress_stage().empty() || now == told_) return;
  told_ = std::move(now);
  v1::Response response;
  response.mutable_progress()->set_stage(service_->progress_stage());
  response.mutable_progress()->set_text(service_->progress_text());
  send(std::move(response));
}

void ContainerRequest::keep_telling() {
  tick_ = node().loop().after(kProgressTick, [this] {
    if (is_finished() || service_ == nullptr) return;
    told_.clear();
    tell_progress();
    keep_telling();
  });
}

void ContainerRequest::gone(const std::string&) {
  fail(Error(ErrorCode::kCancelled, std::format("container '{}' was removed meanwhile", name_)));
}

}  // namespace perdure::node

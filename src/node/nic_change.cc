#include "node/nic_change.h"

#include <unistd.h>

#include <filesystem>
#include <format>
#include <utility>

#include "base/log.h"
#include "io/atomic_file.h"
#include "network/link.h"

namespace perdure::node {
namespace {

// After the deadline of the change itself, whose own thread takes it back.
constexpr Duration kSlack = std::chrono::seconds(5);

std::string port_of(const network::EnslaveRequest& request) {
  return request.vlan ? std::format("{}.{}", request.nic, *request.vlan) : request.nic;
}

Result<bool> is_there(const network::EnslaveRequest& request) {
  PERDURE_ASSIGN(auto links, network::LinkControl::open());
  PERDURE_ASSIGN(const auto bridge, links.find(request.bridge));
  PERDURE_ASSIGN(const auto port, links.find(port_of(request)));
  return bridge && port && port->bridge_index == bridge->index;
}

std::string consent_text(const network::EnslaveRequest& request) {
  const std::string what =
      request.vlan ? std::format("VLAN {} of network interface '{}' becomes a port of the bridge '{}'; the addresses "
                                 "of '{}' itself stay",
                                 *request.vlan, request.nic, request.bridge, request.nic)
                   : std::format("network interface '{}' becomes a port of the bridge '{}'; its addresses and routes "
                                 "move to the bridge, and its connections may pause for some seconds",
                                 request.nic, request.bridge);
  return std::format("{}. You are asked afterwards whether this host is still reachable; without a yes within {} "
                     "everything goes back",
                     what, format_duration(kNicAnswerTime));
}

// The end of an unconfirmed change takes it back, which blocks: never on the loop's thread.
std::shared_ptr<network::Enslavement> hold(network::Enslavement made, io::Loop& loop, io::Pool& pool) {
  return {new network::Enslavement(std::move(made)), [&loop, &pool](network::Enslavement* raw) {
            std::unique_ptr<network::Enslavement> owned(raw);
            const io::Lifetime nobody;
            if (Status submitted = pool.submit(loop, nobody, [owned = std::move(owned)]() mutable { owned.reset(); }, [] {});
                !submitted) {
              log::warning("{}; the network interface was given back by the loop's thread", submitted.error().message());
            }
          }};
}

}  // namespace

NicChange::NicChange(io::Loop& loop, io::Pool& pool, network::EnslaveRequest request, Handlers handlers)
    : loop_(loop), pool_(pool), request_(std::move(request)), handlers_(std::move(handlers)) {}

Result<NicChange::Outcome> NicChange::change(const network::EnslaveRequest& request, NicConsent consent,
                                             io::Loop& loop, io::Pool& pool) {
  PERDURE_ASSIGN(const bool there, is_there(request));
  if (there) return Outcome{};
  if (consent == NicConsent::kNo) return Outcome{consent_text(request), nullptr};
  const std::string directory = std::filesystem::path(request.state_file).parent_path().string();
  PERDURE_TRY(io::make_directories(directory, 0700));
  auto made = network::enslave_nic(request);
  if (!made) {
    ::rmdir(directory.c_str());  // if it was made for this and is empty again
    return fail(std::move(made).error());
  }
  return Outcome{{}, hold(*std::move(made), loop, pool)};
}

void NicChange::begin(NicConsent consent) {
  const Status submitted = pool_.submit(
      loop_, lifetime_,
      [request = request_, consent, &loop = loop_, &pool = pool_] { return change(request, consent, loop, pool); },
      [this](Result<Outcome> outcome) { changed(std::move(outcome)); });
  if (!submitted) settle(submitted);
}

void NicChange::changed(Result<Outcome> outcome) {
  if (!outcome) return settle(fail(std::move(outcome).error()));
  if (!outcome->consent_text.empty()) return handlers_.consent_needed(outcome->consent_text);
  if (outcome->made == nullptr) return settle({});
  made_ = std::move(outcome->made);
  asking_ = true;
  deadline_ = loop_.after(kNicAnswerTime + kSlack, [this] {
    asking_ = false;
    settle(fail(ErrorCode::kTimeout, std::format("nobody said within {} that this host is still reachable; network "
                                                 "interface '{}' is as it was",
                                                 format_duration(kNicAnswerTime), request_.nic)));
  });
  handlers_.ask(std::format("network interface '{}' is a port of bridge '{}' now. Is this host still reachable, and "
                            "are you not only seeing what was sent before?",
                            request_.nic, request_.bridge),
                kNicAnswerTime);
}

void NicChange::answered(bool yes) {
  if (!asking_) return;
  asking_ = false;
  deadline_.reset();  // the change has one of its own
  auto work = [made = made_, yes]() -> Status { return yes ? made->confirm() : made->rollback(); };
  const Status submitted = pool_.submit(loop_, lifetime_, std::move(work), [this, yes](Status changed) {
    if (changed && !yes) {
      changed = fail(ErrorCode::kCancelled,
                     std::format("network interface '{}' is as it was, because the operator did not confirm it",
                                 request_.nic));
    }
    settle(std::move(changed));
  });
  if (!submitted) settle(submitted);
}

void NicChange::settle(Status status) {
  deadline_.reset();
  made_.reset();
  handlers_.done(std::move(status));
}

}  // namespace perdure::node

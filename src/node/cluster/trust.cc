#include "node/cluster/trust.h"

#include <algorithm>
#include <format>
#include <utility>

#include "base/assert.h"
#include "base/log.h"

namespace perdure::node {
namespace {

// A timer is no calendar: what is further away is looked at again.
constexpr Duration kLongestWait = std::chrono::hours(1);

}  // namespace

Trust::Trust(TrustOptions options, pki::NodeIdentity identity, TrustHandlers handlers)
    : options_(std::move(options)),
      handlers_(std::move(handlers)),
      files_(options_.directory),
      identity_(std::move(identity)),
      ring_(std::make_shared<const pki::KeyRing>(identity_.ring)),
      runner_(options_.loop, options_.pool) {
  auto info = pki::read_certificate(identity_.certificate);
  PERDURE_ASSERT(info.has_value());  // NodeFiles::read() and write() have looked at it
  info_ = *std::move(info);
}

Trust::~Trust() = default;

io::TlsIdentity Trust::tls() const { return {identity_.certificate, identity_.key, identity_.authorities}; }

const pki::Authority* Trust::authority() const { return identity_.authority ? &*identity_.authority : nullptr; }

void Trust::start() { arm(); }

void Trust::arm() {
  // Not valid yet: its signer's clock was ahead. Who can sign it signs another one.
  const auto is_due = [this](WallTime now) {
    return now >= pki::renewal_time(info_) || (authority() != nullptr && now < info_.not_before);
  };
  const WallTime now = options_.clock.wall();
  const auto left = std::chrono::duration_cast<Duration>(pki::renewal_time(info_) - now);
  const Duration pause = is_due(now) ? Duration::zero() : std::min(left, kLongestWait);
  renewal_ = options_.loop.after(pause, [this, is_due] {
    if (is_due(options_.clock.wall())) return renew_now();
    arm();
  });
}

void Trust::renew_now() {
  if (std::exchange(renewing_, true)) return;
  auto key = pki::make_private_key();
  if (!key) return take(fail(key.error()), {});
  auto public_key = pki::public_key_of(*key);
  if (!public_key) return take(fail(public_key.error()), {});
  if (const pki::Authority* own = authority()) {
    auto certificate = own->sign(
        {.node = options_.node, .public_key_pem = *public_key, .addresses = options_.addresses}, options_.clock);
    if (!certificate) return take(fail(certificate.error()), {});
    return take(RenewedCertificate{*certificate, identity_.authorities, {}}, *key);
  }
  handlers_.ask_manager(*public_key, [this, token = lifetime_.token(), key = *key](Result<RenewedCertificate> renewed) {
    if (token.alive()) take(std::move(renewed), key);
  });
}

void Trust::take(Result<RenewedCertificate> renewed, const std::string& key) {
  const auto failed = [this](const Error& error) {
    renewing_ = false;
    handlers_.report(std::format("this node's certificate could not be renewed; it is good until {}",
                                 format_wall_time(info_.not_after)),
                     error.message());
    renewal_ = options_.loop.after(options_.retry, [this] { renew_now(); });
  };
  if (!renewed) return failed(renewed.error());
  const auto info = pki::read_certificate(renewed->certificate_pem);
  if (!info) return failed(info.error());
  auto work = [files = files_, certificate = renewed->certificate_pem, authorities = renewed->authorities_pem,
               key]() -> Status {
    if (!authorities.empty()) PERDURE_TRY(files.write_authorities(authorities));
    return files.write_certificate(certificate, key);
  };
  auto done = [this, renewed = *renewed, key, info = *info, failed](const Status& written) {
    if (!written) return failed(written.error());
    renewing_ = false;
    identity_.certificate = renewed.certificate_pem;
    identity_.key = key;
    if (!renewed.authorities_pem.empty()) identity_.authorities = renewed.authorities_pem;
    info_ = info;
    log::info("this node's certificate is renewed until {}", format_wall_time(info_.not_after));
    add_keys(renewed.keys);
    handlers_.identity_changed();
    if (identity_.ring.find(newest_key_) != nullptr || newest_key_ == 0) return arm();
    // Who signed it had not seen the newest settings itself.
    renewal_ = options_.loop.after(options_.retry, [this] { renew_now(); });
  };
  if (Status submitted = options_.pool.submit(options_.loop, lifetime_, std::move(work), std::move(done)); !submitted) {
    failed(submitted.error());
  }
}

// One after the other, and of what waits for one file only the last: no older list ever replaces a newer one.
void Trust::write(std::function<Status(const pki::NodeFiles&)> work, std::string what) {
  const auto waiting = std::ranges::find(writes_, what, &Write::what);
  if (waiting != writes_.end()) {
    waiting->work = std::move(work);
  } else {
    writes_.push_back({std::move(work), std::move(what)});
  }
  write_next();
}

void Trust::write_next() {
  if (writing_ || writes_.empty()) return;
  writing_ = true;
  Write next = std::move(writes_.front());
  writes_.erase(writes_.begin());
  runner_.run([files = files_, work = std::move(next.work)] { return work(files); },
              [this, what = std::move(next.what)](const Status& written) {
                writing_ = false;
                if (!written) handlers_.report(what + " could not be written", written.error().message());
                write_next();
              });
}

void Trust::add_keys(const std::vector<pki::SealingKey>& keys) {
  std::vector<pki::SealingKey> all = identity_.ring.keys();
  bool grown = false;
  for (const pki::SealingKey& key : keys) {
    if (identity_.ring.find(key.id) != nullptr) continue;
    all.push_back(key);
    grown = true;
  }
  if (!grown) return;
  identity_.ring = pki::KeyRing(std::move(all));
  ring_ = std::make_shared<const pki::KeyRing>(identity_.ring);
  write([ring = identity_.ring](const pki::NodeFiles& files) { return files.write_ring(ring); }, "the key ring");
  handlers_.ring_changed();
}

void Trust::follow(const coord::ClusterSettings& settings) {
  const bool grown = std::ranges::any_of(
      settings.keys, [this](const pki::WrappedKey& key) { return identity_.ring.find(key.id) == nullptr; });
  if (!grown) return;
  const pki::Authority* own = authority();
  for (const pki::WrappedKey& key : settings.keys) newest_key_ = std::max(newest_key_, key.id);
  if (own == nullptr) return renew_now();  // the answer brings the keys along
  std::vector<pki::SealingKey> keys;
  for (const pki::WrappedKey& wrapped : settings.keys) {
    auto key = pki::unwrap(wrapped, own->private_key());
    if (key) {
      keys.push_back(*key);
    } else {
      handlers_.report(std::format("key {} of the cluster's ring cannot be opened", wrapped.id), key.error().message());
    }
  }
  add_keys(keys);
}

void Trust::follow(const std::vector<std::string>& revoked_serials) {
  const pki::Authority* own = authority();
  if (own == nullptr || revoked_serials == revoked_) return;
  auto list = own->revocation_list(revoked_serials, options_.clock);
  if (!list) return handlers_.report("the list of revoked certificates could not be made", list.error().message());
  revoked_ = revoked_serials;
  write([text = *list](const pki::NodeFiles& files) { return files.write_revocations(text); },
        "the list of revoked certificates");
}

Result<pki::WrappedKey> Trust::make_key(std::uint32_t id) const {
  const pki::Authority* own = authority();
  if (own == nullptr) return fail(ErrorCode::kUnsupported, "only a manager can make a key");
  PERDURE_ASSIGN(const pki::SealingKey key, pki::KeyRing::make_key(id, options_.clock.wall()));
  return pki::wrap(key, own->private_key());
}

}  // namespace perdure::node

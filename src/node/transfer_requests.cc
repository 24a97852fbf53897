// export and import: an archive to or from the descriptor that came with the request.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <format>

#include "capsule/format/codec.h"
#include "node/control_request.h"
#include "node/status_codec.h"
#include "replica/transfer.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

// What the operator calls it is known to the client only.
constexpr std::string_view kArchive = "the archive";

// What an archive may take of this host's memory while it is read: half of it, as long as containers run beside.
Bytes import_limit() {
  const auto pages = static_cast<std::uint64_t>(std::max(0L, ::sysconf(_SC_PHYS_PAGES)));
  const auto page_bytes = static_cast<std::uint64_t>(std::max(0L, ::sysconf(_SC_PAGESIZE)));
  return Bytes{std::min(capsule::kMaxContentBytes, pages * page_bytes / 2)};
}

Status check_descriptor(const UniqueFd& fd, int refused_mode, std::string_view wanted) {
  const int flags = fd ? ::fcntl(fd.get(), F_GETFL) : -1;
  if (flags < 0 || (flags & O_PATH) != 0 || (flags & O_ACCMODE) == refused_mode) {
    return fail(ErrorCode::kInvalid, std::format("a descriptor that is open for {} must come with the request", wanted));
  }
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return fail_errno("look at the descriptor that came with the request");
  if (!S_ISREG(status.st_mode) && !S_ISFIFO(status.st_mode) && !S_ISSOCK(status.st_mode)) {
    return fail(ErrorCode::kInvalid, "an archive is a file, a pipe or a socket");
  }
  return {};
}

class ExportRequest final : public ControlRequest {
 public:
  using ControlRequest::ControlRequest;

  void begin() override {
    ContainerService* service = find_or_fail(message().export_().name());
    if (service == nullptr) return;
    name_ = service->spec().name.str();
    UniqueFd fd = take_fd();
    if (Status usable = check_descriptor(fd, O_RDONLY, "writing"); !usable) return fail(usable.error());
    if (service->shared_store() == nullptr) {
      return fail(Error(ErrorCode::kConflict, std::format("container '{}' is being removed", name_)));
    }
    const auto wanted = wanted_generation(*service);
    if (!wanted) return fail(wanted.error(), std::format("'perdure generations {}' shows what there is", name_));
    generation_ = *wanted;
    auto slot = take_transfer();
    if (!slot) return fail(slot.error());
    auto work = [slot = *std::move(slot), fd = std::move(fd), generation = generation_, table = service->shared_table(),
                 store = service->shared_store(), ring = ring()]() mutable -> Result<replica::ExportReceipt> {
      PERDURE_ASSIGN(const capsule::CapsuleRef capsule, table->load(generation, *store));
      auto receipt = replica::write_export(fd.get(), *capsule, kArchive, {}, ring.get());
      fd.reset();  // before the answer: who reads a pipe sees its end
      return receipt;
    };
    const Status submitted =
        node().pool().submit(node().loop(), lifetime_, std::move(work),
                             [this](Result<replica::ExportReceipt> receipt) { reply(std::move(receipt)); });
    if (!submitted) fail(submitted.error(), "try again in a moment");
  }

 private:
  Result<Generation> wanted_generation(const ContainerService& service) const {
    if (message().export_().has_generation()) {
      PERDURE_ASSIGN(const Generation generation, parse_generation(message().export_().generation()));
      if (policy::find(service.generations(), generation) != nullptr) return generation;
      return perdure::fail(ErrorCode::kNotFound,
                           std::format("container '{}' has no generation {}", name_, to_string(generation)));
    }
    const policy::GenerationInfo* newest = policy::newest_good(service.generations());
    if (newest != nullptr) return newest->id;
    return perdure::fail(ErrorCode::kNotFound, std::format("container '{}' has no committed generation", name_));
  }

  void reply(Result<replica::ExportReceipt> receipt) {
    if (!receipt) return fail(receipt.error());
    v1::Response response;
    v1::ExportReply& reply = *response.mutable_export_();
    reply.set_name(name_);
    reply.set_generation(to_string(generation_));
    reply.set_bytes(receipt->size.count);
    reply.set_digest("xxh3-128:" + capsule::to_string(receipt->digest));
    finish(std::move(response));
  }

  std::string name_;
  Generation generation_;
};

class ImportRequest final : public ControlRequest {
 public:
  using ControlRequest::ControlRequest;

  void begin() override {
    if (message().import().has_name()) {
      auto name = ContainerName::parse(message().import().name());
      if (!name) return fail(name.error());
      name_ = *std::move(name);
    }
    UniqueFd fd = take_fd();
    if (Status usable = check_descriptor(fd, O_WRONLY, "reading"); !usable) return fail(usable.error());
    auto slot = take_transfer();
    if (!slot) return fail(slot.error());
    auto work = [slot = *std::move(slot), fd = std::move(fd), ring = ring()]() mutable {
      auto imported = replica::read_import(fd.get(), import_limit(), kArchive, ring.get());
      fd.reset();
      return imported;
    };
    const Status submitted =
        node().pool().submit(node().loop(), lifetime_, std::move(work),
                             [this](Result<replica::ImportedCapsule> imported) { store(std::move(imported)); });
    if (!submitted) fail(submitted.error(), "try again in a moment");
  }

 private:
  void store(Result<replica::ImportedCapsule> imported) {
    if (!imported) return fail(imported.error());
    original_ = imported->capsule->manifest.container;
    bytes_ = capsule::full_size(*imported->capsule).count;
    node().import(imported->capsule, name_,
                  [this, token = lifetime_.token()](Result<ContainerService*> service) {
                    if (token.alive()) reply(std::move(service));
                  });
  }

  void reply(Result<ContainerService*> service) {
    if (!service) return fail(service.error());
    v1::Response response;
    v1::ImportReply& reply = *response.mutable_import();
    *reply.mutable_status() = status_of(**service, node().clock());
    reply.set_generation(reply.status().newest_committed().generation());
    reply.set_bytes(bytes_);
    reply.set_original_name(original_);
    finish(std::move(response));
  }

  std::optional<ContainerName> name_;
  std::string original_;
  std::uint64_t bytes_ = 0;
};

}  // namespace

std::unique_ptr<ControlRequest> make_transfer_request(RequestSetup setup) {
  if (setup.message.has_export_()) return std::make_unique<ExportRequest>(std::move(setup));
  if (setup.message.has_import()) return std::make_unique<ImportRequest>(std::move(setup));
  return nullptr;
}

}  // namespace perdure::node

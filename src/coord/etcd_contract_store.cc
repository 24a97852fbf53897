#include <signal.h>

#include "coord/coordination_contract.h"
#include "coord/etcd_caller.h"
#include "coord/etcd_messages.h"
#include "coord/etcd_test_support.h"

namespace perdure::coord {
namespace {

// One member, TLS with certificates on both sides; `first` comes by an address of its own, which can be cut.
class EtcdContractStore final : public ContractStore {
 public:
  explicit EtcdContractStore(io::Loop& loop) : loop_(loop), certificates_(directory_ / "tls") {
    const EtcdTlsFiles files = certificates_.make("node-1", "IP:127.0.0.1,IP:127.0.0.2");
    EtcdServerOptions options;
    options.name = "node-1";
    options.data_directory = directory_ / "data";
    options.log_file = directory_ / "etcd.log";
    options.client_url = "https://127.0.0.1:7401";
    options.more_client_urls = {"https://127.0.0.2:7401"};
    options.peer_url = "https://127.0.0.1:7402";
    options.tls = files;
    options.program = mortal_etcd(directory_.path());
    server_ = std::make_unique<EtcdServer>(loop, options);
    EXPECT_TRUE(succeeded(server_->start({EtcdStart::kNew, "", "contract"})));
    first_ = client("https://127.0.0.2:7401", files);
    second_ = client("https://127.0.0.1:7401", files);
    // It is there when it answers.
    Waiting<StoreStatus> status(loop_);
    second_->status(in(kPatience), status.answer());
    EXPECT_TRUE(status.get().has_value());
  }
  Coordination& first() override { return *first_; }
  Coordination& second() override { return *second_; }
  void stop() override {
    bool stopped = false;
    server_->stop([&] { stopped = true; });
    EXPECT_TRUE(loop_.run_until([&] { return stopped; }, kPatience));
  }
  void start() override { EXPECT_TRUE(succeeded(server_->start({EtcdStart::kRestart, "", ""}))); }
  void cut_first() override {
    run("nft 'add table ip cut; add chain ip cut input { type filter hook input priority 0; };"
        "add rule ip cut input ip daddr 127.0.0.2 drop; add rule ip cut input ip saddr 127.0.0.2 drop'");
  }
  void heal_first() override { run("nft delete table ip cut"); }
  void freeze() override { ::kill(server_->pid(), SIGSTOP); }
  void thaw() override { ::kill(server_->pid(), SIGCONT); }
  void compact(Revision revision) override {
    etcdserverpb::CompactionRequest request;
    request.set_revision(revision);
    request.set_physical(true);
    EtcdCall call{"compact", std::string(kCompactMethod), request.SerializeAsString()};
    call.deadline = in(kPatience);
    Waiting<std::string> done(loop_);
    second_->caller().call(std::move(call), done.answer());
    const auto result = done.get();
    EXPECT_TRUE(result) << result.error().message();
  }

 private:
  std::unique_ptr<EtcdClient> client(const std::string& endpoint, const EtcdTlsFiles& files) {
    EtcdClientOptions options;
    options.endpoints = {endpoint};
    options.credentials = TestCertificates::load(files);
    options.watch_silence = std::chrono::milliseconds(1500);
    return value_of(EtcdClient::create(loop_, options));
  }

  io::Loop& loop_;
  io::TemporaryDirectory directory_;
  TestCertificates certificates_;
  std::unique_ptr<EtcdServer> server_;
  std::unique_ptr<EtcdClient> first_;
  std::unique_ptr<EtcdClient> second_;
};

}  // namespace

std::unique_ptr<ContractStore> make_contract_store(io::Loop& loop) {
  if (!enter_network_of_our_own()) return nullptr;
  (void)require_tls_1_3();
  return std::make_unique<EtcdContractStore>(loop);
}

}  // namespace perdure::coord

// For the tests of this room that need a real etcd: a network namespace of the test's own, certificates made with openssl(1),
// members that die with the test.
#pragma once

#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <net/if.h>
#include <unistd.h>

#include <cstring>
#include <format>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "coord/etcd_client.h"
#include "coord/etcd_server.h"
#include "gtest/gtest.h"
#include "io/loop.h"
#include "io/process.h"
#include "io/test_support.h"

namespace perdure::coord {

template <typename T>
T value_of(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().message();
    std::abort();
  }
  return std::move(result).value();
}
inline testing::AssertionResult succeeded(const Status& status) {
  if (status) return testing::AssertionSuccess();
  return testing::AssertionFailure() << to_string(status.error().code()) << ": " << status.error().message();
}

inline Instant in(Duration time) { return BootClock::now() + time; }
inline constexpr Duration kPatience = std::chrono::seconds(60);  // reached only when a test fails

// Once per process: gRPC's threads stay in the namespace they were made in.
inline bool enter_network_of_our_own() {
  static const bool entered = [] {
    if (::geteuid() != 0 || ::unshare(CLONE_NEWNET) != 0) return false;
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strncpy(request.ifr_name, "lo", IFNAMSIZ - 1);
    request.ifr_flags = IFF_UP;
    return ::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0;
  }();
  return entered;
}

inline void run(const std::string& script) {
  const auto output = io::command_output({"/bin/sh", "-ec", script});
  ASSERT_TRUE(output) << output.error().message();
}

inline std::string text_of(const std::string& path) { return value_of(read_file(path)); }

// An authority, and certificates for names and addresses.
class TestCertificates {
 public:
  explicit TestCertificates(std::string directory) : directory_(std::move(directory)) {
    run(std::format("mkdir -p {0}; cd {0}; openssl ecparam -name prime256v1 -genkey -noout -out ca.key;"
                    "openssl req -x509 -new -key ca.key -subj '/CN=test authority' -days 2 -out ca.pem 2>/dev/null",
                    directory_));
  }
  EtcdTlsFiles make(const std::string& name, const std::string& addresses = "IP:127.0.0.1") const {
    run(std::format("cd {0}; openssl ecparam -name prime256v1 -genkey -noout -out {1}.key;"
                    "openssl req -new -key {1}.key -subj '/O=cluster/CN={1}' -out {1}.csr;"
                    "printf 'subjectAltName={2}\\nextendedKeyUsage=serverAuth,clientAuth\\n' > {1}.ext;"
                    "openssl x509 -req -in {1}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -extfile {1}.ext -out {1}.pem "
                    "2>/dev/null",
                    directory_, name, addresses));
    return EtcdTlsFiles{directory_ + "/ca.pem", directory_ + "/" + name + ".pem", directory_ + "/" + name + ".key", ""};
  }
  static EtcdCredentials load(const EtcdTlsFiles& files) {
    return EtcdCredentials{text_of(files.authority), text_of(files.certificate), text_of(files.key)};
  }

 private:
  std::string directory_;
};

// A program that runs etcd and lets it die with this process.
inline std::string mortal_etcd(const std::string& directory) {
  const std::string path = directory + "/etcd";
  std::ofstream(path) << "#!/bin/sh\nexec setpriv --pdeathsig KILL -- etcd \"$@\"\n";
  run("chmod +x " + path);
  return path;
}

// Turns the loop until an asynchronous call has answered.
template <typename T>
class Waiting {
 public:
  explicit Waiting(io::Loop& loop) : loop_(loop) {}
  Answer<T> answer() {
    return [result = result_](Result<T> value) {
      EXPECT_FALSE(result->has_value()) << "answered twice";
      result->emplace(std::move(value));
    };
  }
  bool answered() const { return result_->has_value(); }
  Result<T> get() {
    if (!loop_.run_until([&] { return answered(); }, kPatience)) return fail(ErrorCode::kTimeout, "the call was not answered");
    return **result_;
  }

 private:
  io::Loop& loop_;
  std::shared_ptr<std::optional<Result<T>>> result_ = std::make_shared<std::optional<Result<T>>>();
};

}  // namespace perdure::coord

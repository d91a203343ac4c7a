// SPDX-License-Identifier: Apache-2.0
// Against sockets of the test's own; that real servers answer so is for tests/vm.
#include "host/services/nfs_server.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <thread>

#include "host/base/fd.hpp"

namespace gantry::services {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A port of 127.0.0.1 that takes connections and answers each with these words after its xid, or
// with nothing.
class Port {
 public:
  explicit Port(std::vector<uint32_t> answer = {}) : answer_(std::move(answer)) {
    listener_.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    if (bind(listener_.get(), generic, size) != 0 || listen(listener_.get(), 8) != 0 ||
        getsockname(listener_.get(), generic, &size) != 0)
      throw std::runtime_error("no socket");
    number_ = ntohs(address.sin_port);
    if (!answer_.empty()) thread_ = std::thread([this] { Serve(); });
  }
  ~Port() {
    shutdown(listener_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
  }
  std::string number() const { return std::to_string(number_); }

 private:
  void Serve() {
    for (;;) {
      const base::UniqueFd peer(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!peer) return;
      std::array<uint32_t, 11> call{};  // of NULL
      if (recv(peer.get(), call.data(), sizeof call, MSG_WAITALL) != sizeof call) continue;
      std::vector<uint32_t> reply = {0, call[1]};
      for (const uint32_t word : answer_) reply.push_back(htonl(word));
      reply[0] = htonl(0x80000000U | static_cast<uint32_t>((reply.size() - 1) * 4));
      (void)send(peer.get(), reply.data(), reply.size() * 4, MSG_NOSIGNAL);
    }
  }

  const std::vector<uint32_t> answer_;
  base::UniqueFd listener_;
  uint16_t number_ = 0;
  std::thread thread_;
};

const std::vector<uint32_t> kSuccess = {1, 0, 0, 0, 0};
const std::vector<uint32_t> kMismatch = {1, 0, 0, 0, 2, 4, 4};

auto Find(const std::string& fs_type, const std::vector<std::string>& options,
          const std::string& source = "127.0.0.1:/x") {
  NfsServerLimits limits;
  limits.answer_ms_max = std::chrono::milliseconds(300);
  return FindNfsServer(fs_type, source, options, limits);
}

TEST(NfsServer, ThatAnswersIsFoundByItsAddress) {
  const Port nfs(kSuccess);
  const auto found = Find("nfs4", {"vers=4.2", "port=" + nfs.number()});
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_THAT(*found, ElementsAre("addr=127.0.0.1"));
}

TEST(NfsServer, IsFoundByItsName) {
  const Port nfs(kSuccess);
  const auto found = Find("nfs4", {"port=" + nfs.number()}, "localhost:/x");
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_THAT(*found, ElementsAre(HasSubstr("addr=")));
}

TEST(NfsServer, KeepsTheAddressThatItWasGiven) {
  const Port nfs(kSuccess);
  const auto found = Find("nfs4", {"addr=127.0.0.1", "port=" + nfs.number()}, "nowhere.invalid:/x");
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_THAT(*found, IsEmpty());
}

TEST(NfsServer, OfVersion3HasToAnswerForMountToo) {
  const Port nfs(kSuccess);
  const Port mount(kSuccess);
  const Port silent;
  EXPECT_TRUE(Find("nfs", {"vers=3", "port=" + nfs.number(), "mountport=" + mount.number()}));
  const auto away = Find("nfs", {"vers=3", "port=" + nfs.number(), "mountport=" + silent.number()});
  ASSERT_FALSE(away);
  EXPECT_EQ(away.error().error_number, EHOSTDOWN);
}

TEST(NfsServer, ThatTakesConnectionsAndNeverAnswersIsAway) {
  const Port silent;
  const auto away = Find("nfs4", {"port=" + silent.number()});
  ASSERT_FALSE(away);
  EXPECT_EQ(away.error().error_number, EHOSTDOWN);
  EXPECT_EQ(away.error().what, "127.0.0.1 port " + silent.number() + " does not answer");
}

TEST(NfsServer, ThatIsNotThereRefuses) {
  std::string port;
  { port = Port().number(); }
  const auto away = Find("nfs4", {"port=" + port});
  ASSERT_FALSE(away);
  EXPECT_EQ(away.error().error_number, ECONNREFUSED);
}

TEST(NfsServer, WithoutTheVersionSaysSo) {
  const Port v4_only(kMismatch);
  const auto refused = Find("nfs", {"vers=3", "port=" + v4_only.number(), "mountport=1"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().error_number, EPROTONOSUPPORT);
  EXPECT_THAT(refused.error().what, HasSubstr("version 3"));
}

TEST(NfsServer, ThatSpeaksNoRpcIsNone) {
  for (const auto& nonsense : {std::vector<uint32_t>{7}, std::vector<uint32_t>{1, 0, 0, 9999, 0},
                               std::vector<uint32_t>(300, 0)}) {
    const Port port(nonsense);
    const auto refused = Find("nfs4", {"port=" + port.number()});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().error_number, EPROTO);
  }
}

TEST(NfsServer, WithoutAnAddressIsUnreachable) {
  const auto nowhere = Find("nfs4", {}, "nowhere.invalid:/x");
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().error_number, EHOSTUNREACH);
  EXPECT_THAT(nowhere.error().what, HasSubstr("nowhere.invalid"));
  EXPECT_EQ(Find("nfs4", {}, "/no/server").error().error_number, EINVAL);
}

}  // namespace
}  // namespace gantry::services

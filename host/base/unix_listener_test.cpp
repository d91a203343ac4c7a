// SPDX-License-Identifier: Apache-2.0
#include "host/base/unix_listener.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>

#include "host/base/temp_dir.hpp"

namespace gantry::base {
namespace {

UniqueFd Connect(const std::filesystem::path& path) {
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = path;
  std::copy(name.begin(), name.end(), address.sun_path);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    fd.Reset();
  return fd;
}

ino_t InodeOf(const std::filesystem::path& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

struct UnixListenerTest : testing::Test {
  TempDir directory;
  const std::filesystem::path path = directory.path() / "socket";
};

TEST_F(UnixListenerTest, HasItsModeAndKnowsWhoConnects) {
  const auto listener = UnixListener::Open(path, 0600).value();
  struct stat status {};
  ASSERT_EQ(lstat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  EXPECT_EQ(listener.Accept().error().code, Code::kUnavailable);
  const UniqueFd client = Connect(path);
  ASSERT_TRUE(client);
  const auto connection = listener.Accept();
  ASSERT_TRUE(connection) << connection.error().message;
  const auto peer = PeerOf(connection->get());
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->uid, geteuid());
  EXPECT_EQ(peer->pid, getpid());
}

TEST_F(UnixListenerTest, ReplacesAStaleSocketAndLeavesNoOtherFile) {
  { (void)Connect(path); }
  const int stale = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = path;
  std::copy(name.begin(), name.end(), address.sun_path);
  ASSERT_EQ(bind(stale, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  close(stale);
  const ino_t before = InodeOf(path);
  {
    const auto listener = UnixListener::Open(path, 0600).value();
    EXPECT_NE(InodeOf(path), before);
    EXPECT_TRUE(Connect(path));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
  }
  EXPECT_EQ(InodeOf(path), 0u);
}

TEST_F(UnixListenerTest, LeavesTheSocketOfASuccessor) {
  auto first = std::make_unique<UnixListener>(UnixListener::Open(path, 0600).value());
  const auto second = UnixListener::Open(path, 0600).value();
  first.reset();
  EXPECT_TRUE(Connect(path));
}

TEST_F(UnixListenerTest, RefusesAPathThatDoesNotFit) {
  const auto listener = UnixListener::Open(directory.path() / std::string(120, 'x'), 0600);
  ASSERT_FALSE(listener);
  EXPECT_EQ(listener.error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace gantry::base

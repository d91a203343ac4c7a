// SPDX-License-Identifier: Apache-2.0
// For tests: a target, and disks that are opened on it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "plugins/iscsi/datapath/data_path.hpp"
#include "plugins/iscsi/datapath/testing/fake_host.hpp"
#include "plugins/iscsi/scsi/unit.hpp"
#include "tests/lab/tgt.hpp"

namespace gantry::iscsi::test {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using Parameters = std::map<std::string, std::string>;

inline constexpr const char* kTarget = "iqn.2026-01.test.gantry:t1";
inline constexpr const char* kNode1 = "iqn.2026-01.test.gantry:node-1";
inline constexpr const char* kNode2 = "iqn.2026-01.test.gantry:node-2";
inline constexpr const char* kIdentity = "naa.6000000000000000c0ffee0000000001";
inline constexpr uint64_t kSizeBytes = 64 << 20;

using Data = std::vector<std::byte>;

inline Data Pattern(size_t bytes, uint64_t seed) {
  Data data(bytes);
  uint64_t state = seed * 0x9e3779b97f4a7c15 + 1;
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(&data[i], &state, 8);
  }
  return data;
}

// One data path in its "process".
class Disk {
 public:
  explicit Disk(FakeHost& host)
      : host_(host),
        path_(std::make_unique<IscsiDataPath>(
            host.table(),
            [this](int32_t, std::string_view text) { log_ += std::string(text) + "\n"; },
            [] { return static_cast<int64_t>(time(nullptr)); })) {}

  FakeHost& host() { return host_; }
  IscsiDataPath& path() { return *path_; }
  const std::string& log() const { return log_; }
  // As after a SIGKILL: nothing was told to the host, or to the target.
  void Die() {
    host_.SetDeaf(true);
    path_.reset();
    host_.SetDeaf(false);
  }

  gantry_op BeginOpen(const Parameters& parameters, const std::string& identity = kIdentity,
                      uint64_t size_bytes = kSizeBytes, bool readonly = false) {
    const MapRef map(parameters);
    gantry_disk_open request{};
    request.size = sizeof request;
    request.readonly = readonly ? 1 : 0;
    request.parameters = map.get();
    request.volume_key = {"volume-1", 8};
    request.identity = ToStr(identity);
    request.size_bytes = size_bytes;
    const gantry_op op = host_.NewOp();
    path_->Open(op, request);
    return op;
  }
  Ended Open(const Parameters& parameters, const std::string& identity = kIdentity,
             uint64_t size_bytes = kSizeBytes, bool readonly = false) {
    return host_.Wait(BeginOpen(parameters, identity, size_bytes, readonly));
  }
  Ended Close() { return host_.Wait(Step(&IscsiDataPath::Close)); }

  // Each begins an operation and returns its number. Buffers are borrowed.
  gantry_op Read(uint64_t offset, Data& buffer) {
    gantry_disk_read request{};
    request.size = sizeof request;
    request.offset = offset;
    request.buffer = buffer.data();
    request.length = static_cast<uint32_t>(buffer.size());
    const gantry_op op = host_.NewOp();
    path_->Read(op, request);
    return op;
  }
  gantry_op Write(uint64_t offset, const Data& data, uint32_t flags = 0) {
    gantry_disk_write request{};
    request.size = sizeof request;
    request.flags = flags;
    request.offset = offset;
    request.data = {data.data(), data.size()};
    const gantry_op op = host_.NewOp();
    path_->Write(op, request);
    return op;
  }
  gantry_op Range(void (IscsiDataPath::*method)(gantry_op, const gantry_disk_range&),
                  uint64_t offset, uint64_t length, uint32_t flags = 0) {
    gantry_disk_range request{};
    request.size = sizeof request;
    request.flags = flags;
    request.offset = offset;
    request.length = length;
    const gantry_op op = host_.NewOp();
    (path_.get()->*method)(op, request);
    return op;
  }
  gantry_op Step(void (IscsiDataPath::*method)(gantry_op)) {
    const gantry_op op = host_.NewOp();
    (path_.get()->*method)(op);
    return op;
  }
  int Wait(gantry_op op, milliseconds time = seconds(20)) {
    return host_.Wait(op, time).error_number;
  }
  Data ReadBack(uint64_t offset, size_t bytes) {
    Data buffer(bytes);
    EXPECT_EQ(Wait(Read(offset, buffer)), 0) << log_;
    return buffer;
  }

 private:
  FakeHost& host_;
  std::string log_;
  std::unique_ptr<IscsiDataPath> path_;
};

class DiskTest : public testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);
    auto started = lab::Tgt::Start({.addresses = {"127.0.0.1", "127.0.0.1"}});
    ASSERT_TRUE(started) << started.error().message;
    server_.emplace(*std::move(started));
    MakeTarget();
  }

  // As after a restart, too: the ACL last.
  void MakeTarget() {
    ASSERT_TRUE(server_->NewTarget(1, kTarget));
    const auto made = server_->NewLun(lun_);
    ASSERT_TRUE(made) << made.error().message;
    LetIn();
  }
  void LetIn() {
    for (const char* node : {kNode1, kNode2}) ASSERT_TRUE(server_->Allow(1, node));
  }
  Parameters Source(const char* node = kNode1, Parameters more = {}) {
    more.insert({{"portals", server_->portals()[0] + "," + server_->portals()[1]},
                 {"target", kTarget},
                 {"lun", "1"},
                 {"initiator", node}});
    return more;
  }
  // Another initiator's look at the LUN.
  scsi::Session Observe() {
    scsi::LoginOptions options;
    options.initiator = kNode2;
    options.target = kTarget;
    auto session = scsi::Session::Login(options, {*scsi::ParsePortal(server_->portal())}, Soon());
    if (!session) throw std::runtime_error(session.error().message);
    return *std::move(session);
  }
  static scsi::Wait Soon() { return {steady_clock::now() + seconds(5)}; }

  lab::TgtLun lun_{};
  std::optional<lab::Tgt> server_;
};

}  // namespace gantry::iscsi::test

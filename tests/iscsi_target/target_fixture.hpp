// SPDX-License-Identifier: Apache-2.0
// A gantry-target in this process, over a real tgtd and a store of its own.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "host/base/temp_dir.hpp"
#include "plugins/iscsi/scsi/unit.hpp"
#include "plugins/iscsi/target/service.hpp"
#include "tests/lab/tgt.hpp"

namespace gantry::iscsi::target::testing {

inline constexpr const char* kNodeA = "iqn.2026-01.test.gantry:node-a";
inline constexpr const char* kNodeB = "iqn.2026-01.test.gantry:node-b";
inline constexpr const char* kPrefix = "iqn.2026-01.test.gantry.store";
inline constexpr uint16_t kLioPort = 13260;
inline constexpr uint64_t kMiB = uint64_t{1} << 20;
inline constexpr std::chrono::milliseconds kSoonMs{10'000};

inline scsi::Wait Soon() { return {std::chrono::steady_clock::now() + kSoonMs}; }

class TargetFixture : public ::testing::Test {
 protected:
  explicit TargetFixture(Kind kind = Kind::kTgt) : kind_(kind) {
    std::signal(SIGPIPE, SIG_IGN);
    std::filesystem::create_directory(store_path());
    std::filesystem::permissions(store_path(), std::filesystem::perms::owner_all);
    std::ofstream(key_path()) << std::string(64, 'a') << "\n";
    chmod(key_path().c_str(), 0600);
    if (kind_ == Kind::kTgt) {
      StartTgt();
      Open();
    }
  }

  const std::filesystem::path& store_path() const { return store_path_; }
  std::filesystem::path key_path() const { return temp_.path() / "key"; }

  // With a library that is loaded into tgtd, and what that is told: the lab's tool takes the first
  // tgtd of PATH.
  void StartTgt(const std::string& preload, const std::string& mark) {
    const auto wrapper = temp_.path() / "bin/tgtd";
    std::filesystem::create_directory(wrapper.parent_path());
    std::ofstream(wrapper) << "#!/bin/sh\nLD_PRELOAD=" << preload << " GANTRY_SLOW_MARK=" << mark
                           << " exec /usr/sbin/tgtd \"$@\"\n";
    std::filesystem::permissions(wrapper, std::filesystem::perms::owner_all);
    const std::string path = std::getenv("PATH");
    setenv("PATH", (wrapper.parent_path().string() + ":" + path).c_str(), 1);
    StartTgt();
    setenv("PATH", path.c_str(), 1);
  }
  void StartTgt() {
    tgt_.reset();
    auto started = lab::Tgt::Start({.directory = temp_.path() / "tgt"});
    if (!started) throw std::runtime_error(started.error().message);
    tgt_.emplace(*std::move(started));
  }
  Config MakeConfig() const {
    Config config;
    config.store = store_path();
    config.iqn_prefix = kPrefix;
    config.kind = kind_;
    config.portals = {Portal{"127.0.0.1", tgt_ ? tgt_->port() : kLioPort}};
    config.chap_key_file = key_path();
    if (tgt_) config.tgt.socket = tgt_->management_socket();
    return config;
  }
  void Open(Step step = [](const char*) {}) {
    auto service = Service::Open(MakeConfig(), "0-test", std::move(step));
    if (!service) throw std::runtime_error(service.error().message);
    service_ = std::move(*service);
  }

  // As over the wire.
  template <class Request>
  plugin::Result<typename Request::Reply> Ask(const Request& request,
                                              std::chrono::milliseconds deadline = kSoonMs,
                                              const std::string& owner = "cluster-a") {
    return DecodeReply<typename Request::Reply>(
        service_->Answer(EncodeRequest({owner, deadline}, request)));
  }
  template <class Request>
  typename Request::Reply Must(const Request& request) {
    auto reply = Ask(request);
    if (!reply) throw std::runtime_error(reply.error().message);
    return std::move(*reply);
  }
  template <class Request>
  void ExpectError(const Request& request, int32_t code, const std::string& text) {
    const auto reply = Ask(request);
    ASSERT_FALSE(reply) << "expected " << CodeName(code) << ": " << text;
    EXPECT_EQ(CodeName(reply.error().code), CodeName(code)) << reply.error().message;
    EXPECT_THAT(reply.error().message, ::testing::HasSubstr(text));
  }

  static CreateVolume Make(const std::string& handle, uint64_t size_bytes = 64 * kMiB) {
    CreateVolume request;
    request.handle = handle;
    request.name = "pvc-" + handle;
    request.required_bytes = size_bytes;
    request.parameters = {{"tier", "fast"}};
    return request;
  }
  static CreateVolume MakeFrom(const std::string& handle, ContentKind kind,
                               const std::string& source) {
    CreateVolume request = Make(handle, 0);
    request.content = {kind, source};
    return request;
  }
  static CreateSnapshot Snap(const std::string& handle, const std::string& source) {
    CreateSnapshot request;
    request.handle = handle;
    request.name = "snap-" + handle;
    request.source = source;
    return request;
  }
  static PublishVolume Publish(const std::string& handle, const std::string& node_id = "node-a",
                               const std::string& initiator = kNodeA) {
    PublishVolume request;
    request.handle = handle;
    request.node_id = node_id;
    request.initiator = initiator;
    request.single_node = true;
    return request;
  }
  static UnpublishVolume Unpublish(const std::string& handle,
                                   const std::string& node_id = "node-a") {
    UnpublishVolume request;
    request.handle = handle;
    request.node_id = node_id;
    return request;
  }

  scsi::ScsiResult<scsi::Session> TryLogin(const Volume& volume, const std::string& initiator,
                                           const std::optional<Chap>& chap = std::nullopt) {
    scsi::LoginOptions options;
    options.initiator = initiator;
    options.target = volume.iqn;
    if (chap) options.chap.emplace(chap->user, chap->password);
    if (chap && !chap->user_in.empty()) options.mutual.emplace(chap->user_in, chap->password_in);
    return scsi::Session::Login(options, {{"127.0.0.1", MakeConfig().portals[0].port}}, Soon());
  }
  scsi::Session Login(const Volume& volume, const std::string& initiator = kNodeA) {
    auto session = TryLogin(volume, initiator);
    if (!session) throw std::runtime_error(session.error().message);
    return *std::move(session);
  }
  static std::vector<std::byte> Block(const std::string& text) {
    std::vector<std::byte> block(kSizeUnitBytes);
    std::transform(text.begin(), text.end(), block.begin(),
                   [](char c) { return static_cast<std::byte>(c); });
    return block;
  }
  static void WriteText(scsi::Session& session, const std::string& text, uint64_t lba = 0) {
    const auto data = Block(text);
    ASSERT_TRUE(scsi::Write(session, kLun, lba, kBlockBytes, data, false, Soon()));
    ASSERT_TRUE(scsi::Flush(session, kLun, Soon()));
  }
  static std::string ReadText(scsi::Session& session, uint64_t lba = 0) {
    std::vector<std::byte> data(kSizeUnitBytes);
    const auto read = scsi::Read(session, kLun, lba, kBlockBytes, data, Soon());
    if (!read) return read.error().message;
    std::string text(reinterpret_cast<const char*>(data.data()), data.size());
    return text.substr(0, text.find('\0'));
  }
  // Makes a volume, has a node write `text` to it, and takes it back.
  Volume MakeWith(const std::string& handle, const std::string& text,
                  uint64_t size_bytes = 64 * kMiB) {
    Must(Make(handle, size_bytes));
    const Volume volume = Must(Publish(handle));
    auto session = Login(volume);
    WriteText(session, text);
    Must(Unpublish(handle));
    return volume;
  }
  std::string TextOf(const std::string& handle) {
    const Volume volume = Must(Publish(handle));
    std::string text;
    {
      auto session = Login(volume);
      text = ReadText(session);
    }
    Must(Unpublish(handle));
    return text;
  }
  std::vector<std::string> Files(const std::string& directory) const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(store_path() / directory))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

  const Kind kind_;
  base::TempDir temp_;
  std::filesystem::path store_path_ = temp_.path() / "store";
  std::optional<lab::Tgt> tgt_;
  std::unique_ptr<Service> service_;
};

}  // namespace gantry::iscsi::target::testing

// SPDX-License-Identifier: Apache-2.0
// For tests: a data path of a real cluster's filesystem, asked for one operation after the other.
#pragma once

#include <sys/stat.h>

#include <gantry/gantry.hpp>
#include <map>
#include <string>
#include <utility>

#include "plugins/cephfs/datapath/data_path.hpp"
#include "plugins/cephfs/datapath/testing/fake_host.hpp"

namespace gantry::cephfs::test {

struct Cluster {
  std::string monitor;
  std::string filesystem;
  std::string key;  // admin's
};

// One data path of the filesystem's root.
class Path {
 public:
  Path(const Cluster& cluster, const std::string& node, bool one_node, RegionBytes region = {})
      : host_(std::move(region)),
        path_(
            host_.table(), {"owner", node},
            [key = cluster.key](const gantry_map&) -> plugin::Result<std::string> { return key; },
            [](int32_t, std::string_view) {}) {
    const std::map<std::string, std::string> parameters = {
        {"monitors", "[v2:" + cluster.monitor + "]"},
        {"fsName", cluster.filesystem},
        {"path", "/"},
        {"user", "admin"},
        {"oneNode", one_node ? "true" : "false"},
        {"cache", one_node ? "writeback" : "writethrough"}};
    const MapRef map(parameters);
    gantry_datapath_open request{};
    request.size = sizeof request;
    request.parameters = map.get();
    request.volume_key = ToStr(std::string_view("volume"));
    path_.Open(1, request);
    const Ended ended = host_.Wait(1);
    EXPECT_EQ(ended.error_number, 0);
    root_ = ended.node;
  }
  CephDataPath* operator->() { return &path_; }
  FakeHost& host() { return host_; }

  // The next operation is that one, a repetition or the first time.
  Path& As(gantry_op op, bool replayed) {
    op_ = op;
    context_.flags = replayed ? GANTRY_FS_REPLAYED : 0;
    return *this;
  }
  Ended Name(void (CephDataPath::*method)(gantry_op, const gantry_fs_name&),
             const std::string& name) {
    gantry_fs_name r{};
    r.directory = Root();
    r.name = ToStr(name);
    return Do(method, r);
  }
  Ended Lookup(const std::string& name) { return Name(&CephDataPath::Lookup, name); }
  Ended Unlink(const std::string& name) { return Name(&CephDataPath::Unlink, name); }
  Ended Rmdir(const std::string& name) { return Name(&CephDataPath::Rmdir, name); }
  Ended Make(void (CephDataPath::*method)(gantry_op, const gantry_fs_make&),
             const std::string& name, uint32_t mode, uint64_t verifier = 1,
             uint32_t exclusive = 1) {
    gantry_fs_make r{};
    r.directory = Root();
    r.name = ToStr(name);
    r.mode = mode;
    r.exclusive = exclusive;
    r.verifier = verifier;
    r.target = ToStr(std::string_view("target"));
    return Do(method, r);
  }
  Ended Create(const std::string& name, uint64_t verifier = 1) {
    return Make(&CephDataPath::Create, name, S_IFREG | 0644, verifier);
  }
  // Made where it is not there.
  Ended Open(const std::string& name) {
    return Make(&CephDataPath::Create, name, S_IFREG | 0644, 0, /*exclusive=*/0);
  }
  Ended Mkdir(const std::string& name) { return Make(&CephDataPath::Mkdir, name, S_IFDIR | 0755); }
  Ended Symlink(const std::string& name) {
    return Make(&CephDataPath::Symlink, name, S_IFLNK | 0777);
  }
  Ended Link(const std::string& node, const std::string& name) {
    gantry_fs_link r{};
    r.node = {node.data(), node.size()};
    r.directory = Root();
    r.name = ToStr(name);
    return Do(&CephDataPath::Link, r);
  }
  Ended Rename(const std::string& from, const std::string& to) {
    gantry_fs_rename r{};
    r.directory = r.new_directory = Root();
    r.name = ToStr(from);
    r.new_name = ToStr(to);
    return Do(&CephDataPath::Rename, r);
  }
  Ended Write(const std::string& node, const std::string& data) {
    gantry_fs_write r{};
    r.node = {node.data(), node.size()};
    r.data = {data.data(), data.size()};
    return Do(&CephDataPath::Write, r);
  }
  Ended SetTime(const std::string& node, int64_t mtime_ns) {
    gantry_fs_setattr r{};
    r.node = {node.data(), node.size()};
    r.valid = GANTRY_FS_SET_MTIME;
    r.values.mtime_ns = mtime_ns;
    return Do(&CephDataPath::Setattr, r);
  }
  Ended List() {
    gantry_fs_readdir r{};
    r.node = Root();
    r.room_bytes = 1 << 20;
    return Do(&CephDataPath::ReaddirPlus, r);
  }
  void Forget(const std::string& node) { path_.Forget({node.data(), node.size()}); }
  // The next operation is begun only: to be waited for or interrupted by its number, which is answered.
  Path& Begun(gantry_op* op) {
    begun_ = op;
    return *this;
  }
  const RegionBytes& region() const { return host_.region(); }

 private:
  gantry_bytes Root() const { return {root_.data(), root_.size()}; }
  template <class Request>
  Ended Do(void (CephDataPath::*method)(gantry_op, const Request&), Request& request) {
    request.size = sizeof request;
    request.context = std::exchange(context_, {});
    const gantry_op op = op_ != 0 ? std::exchange(op_, 0) : ++last_op_;
    (path_.*method)(op, request);
    if (begun_ != nullptr) {
      *std::exchange(begun_, nullptr) = op;
      return {};
    }
    return host_.Wait(op);
  }

  FakeHost host_;
  CephDataPath path_;
  std::string root_;
  gantry_fs_context context_{};
  gantry_op op_ = 0;
  gantry_op* begun_ = nullptr;
  gantry_op last_op_ = 1;
};

}  // namespace gantry::cephfs::test

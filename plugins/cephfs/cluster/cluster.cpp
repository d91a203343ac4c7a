// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/cluster/cluster.hpp"

#include <rados/librados.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "plugins/cephfs/cluster/ceph_error.hpp"

namespace gantry::cephfs {

using nlohmann::json;
using plugin::Fail;
using plugin::Result;
using plugin::Status;
namespace code = plugin::code;

namespace {

// The manager does one command at a time: a second one is under way while the first is being done,
// more would only wait there instead of here.
constexpr size_t kManagerThreads = 4;
constexpr size_t kMonitorThreads = 2;
constexpr size_t kObjectThreads = 4;
constexpr size_t kWaitingMax = 64;

struct Buffer {
  char* data = nullptr;
  size_t length = 0;

  ~Buffer() { rados_buffer_free(data); }
  std::string text() const { return data == nullptr ? "" : std::string(data, length); }
};

}  // namespace

Result<json> Reply::Json(const std::string& what) const {
  json parsed = json::parse(out, nullptr, false);
  if (parsed.is_discarded()) return Fail(code::kDataLoss, what + ": the answer is no JSON");
  return parsed;
}

// A handle of librados, closed with the last request that uses it.
class Cluster::Connection {
 public:
  Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    if (pool_ != nullptr) rados_ioctx_destroy(pool_);
    if (cluster_ != nullptr) rados_shutdown(cluster_);
  }

  // 0 or an errno.
  int Open(const ClusterConfig& config, const std::string& key) {
    if (const int failed = rados_create2(&cluster_, "ceph", ("client." + config.user).c_str(), 0);
        failed != 0)
      return failed;
    const std::string seconds = std::to_string(config.timeout.count());
    // rados_mon_op_timeout stays off (blocking.hpp). That of objects is a different mechanism.
    for (const auto& [name, value] :
         {std::pair{"mon_host", config.mon_host}, std::pair{"key", key},
          std::pair{"keyring", std::string("/dev/null")}, std::pair{"log_file", std::string()},
          std::pair{"log_to_stderr", std::string("false")},
          std::pair{"err_to_stderr", std::string("false")},
          std::pair{"admin_socket", std::string()}, std::pair{"client_mount_timeout", seconds},
          std::pair{"rados_osd_op_timeout", seconds}})
      if (const int failed = rados_conf_set(cluster_, name, value.c_str()); failed != 0)
        return failed;
    const int connected = rados_connect(cluster_);
    if (connected != 0) return connected;
    char fsid[64] = {};
    const int length = rados_cluster_fsid(cluster_, fsid, sizeof fsid);
    if (length < 0) return length;
    fsid_ = fsid;
    return 0;
  }

  int OpenPool(const std::string& pool, const std::string& records_namespace) {
    if (const int failed = rados_ioctx_create(cluster_, pool.c_str(), &pool_); failed != 0)
      return failed;
    rados_ioctx_set_namespace(pool_, records_namespace.c_str());
    return 0;
  }

  Reply Ask(Whom whom, const std::string& command) const {
    const char* words = command.c_str();
    Buffer out;
    Buffer said;
    const auto ask = whom == Whom::kManager ? rados_mgr_command : rados_mon_command;
    Reply reply;
    reply.number =
        std::abs(ask(cluster_, &words, 1, "", 0, &out.data, &out.length, &said.data, &said.length));
    reply.out = out.text();
    reply.words = said.text();
    return reply;
  }

  void* pool() const { return pool_; }
  const std::string& fsid() const { return fsid_; }

 private:
  rados_t cluster_ = nullptr;
  rados_ioctx_t pool_ = nullptr;
  std::string fsid_;
};

Cluster::Cluster(ClusterConfig config, KeyReader read_key)
    : config_(std::move(config)),
      read_key_(std::move(read_key)),
      manager_("the cluster's manager", kManagerThreads, kWaitingMax),
      monitor_("the cluster's monitors", kMonitorThreads, kWaitingMax),
      objects_("the cluster's pool of records", kObjectThreads, kWaitingMax) {}

Cluster::~Cluster() = default;

Result<Cluster::Shared> Cluster::Connect(TimePoint deadline) {
  {
    const std::lock_guard lock(mutex_);
    if (connection_ != nullptr) return connection_;
  }
  const std::unique_lock one(connecting_, deadline);
  if (!one) return Fail(code::kUnavailable, "the cluster's monitors did not answer in time");
  {
    const std::lock_guard lock(mutex_);
    if (connection_ != nullptr) return connection_;
  }
  GANTRY_PLUGIN_TRY_ASSIGN(Shared connection, ConnectAnew(deadline));
  const std::lock_guard lock(mutex_);
  connection_ = connection;
  return connection;
}

Result<Cluster::Shared> Cluster::ConnectAnew(TimePoint deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(auto key_text, read_key_(deadline));
  const auto key = std::make_shared<SecretText>(std::move(key_text));
  const auto connection = std::make_shared<Connection>();
  const auto opened = std::make_shared<int>(0);
  GANTRY_PLUGIN_TRY(monitor_.Run(deadline, [connection, key, opened, config = config_] {
    *opened = connection->Open(config, key->text());
  }));
  if (*opened != 0) {
    const int number = std::abs(*opened);
    // A key that is none, an entity that is none, a key of another entity: all of them "who are you".
    if (number == EACCES || number == EPERM || number == EINVAL || number == ENOENT)
      return Fail(code::kUnauthenticated,
                  "the cluster does not know client." + config_.user + " by the key it was given");
    return tl::unexpected(FromErrno(number, "connecting to the cluster"));
  }
  GANTRY_PLUGIN_TRY(FindRecordsPool(connection, deadline));
  return connection;
}

Status Cluster::FindRecordsPool(const Shared& connection, TimePoint deadline) {
  const auto reply = std::make_shared<Reply>();
  std::string pool = config_.records_pool;
  if (pool.empty()) {
    GANTRY_PLUGIN_TRY(monitor_.Run(deadline, [connection, reply] {
      *reply = connection->Ask(Whom::kMonitor, R"({"prefix": "fs ls", "format": "json"})");
    }));
    if (!reply->ok()) return tl::unexpected(FromErrno(reply->number, "fs ls", reply->words));
    GANTRY_PLUGIN_TRY_ASSIGN(const json filesystems, reply->Json("fs ls"));
    for (const auto& filesystem : filesystems)
      if (filesystem.value("name", "") == config_.fs_name)
        pool = filesystem.value("metadata_pool", "");
    if (pool.empty())
      return Fail(code::kFailedPrecondition,
                  "fsName is \"" + config_.fs_name + "\"; the cluster has no such filesystem");
  }
  const auto opened = std::make_shared<int>(0);
  GANTRY_PLUGIN_TRY(objects_.Run(deadline, [=, records = config_.records_namespace] {
    *opened = connection->OpenPool(pool, records);
  }));
  if (*opened != 0)
    return tl::unexpected(FromErrno(*opened, "opening the pool of records " + pool));
  return {};
}

void Cluster::Drop(const Shared& connection) {
  const std::lock_guard lock(mutex_);
  if (connection_ == connection) connection_ = nullptr;
}

Result<Reply> Cluster::Ask(Whom whom, const json& command, TimePoint deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const Shared connection, Connect(deadline));
  const auto reply = std::make_shared<Reply>();
  Blocking& blocking = whom == Whom::kManager ? manager_ : monitor_;
  GANTRY_PLUGIN_TRY(blocking.Run(deadline, [connection, reply, whom, text = command.dump()] {
    *reply = connection->Ask(whom, text);
  }));
  const std::string what = command.value("prefix", "");
  switch (reply->number) {
    case ETIMEDOUT:
    case ENOTCONN:
    case ESHUTDOWN:
      Drop(connection);
      return tl::unexpected(FromErrno(reply->number, what, reply->words));
    case EACCES:
      Drop(connection);  // So that a key that was put right meanwhile is read.
      return Fail(code::kPermissionDenied, what + ": client." + config_.user +
                                               " may not; see SECURITY.md for what it needs");
    default:
      return *reply;
  }
}

Result<Reply> Cluster::AskManager(json command, TimePoint deadline) {
  command["format"] = "json";
  return Ask(Whom::kManager, command, deadline);
}

Result<Reply> Cluster::AskMonitor(json command, TimePoint deadline) {
  command["format"] = "json";
  return Ask(Whom::kMonitor, command, deadline);
}

Result<std::string> Cluster::Fsid(TimePoint deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const Shared connection, Connect(deadline));
  return connection->fsid();
}

Result<ClientIdentity> Cluster::Identity(TimePoint deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const SecretText key, read_key_(deadline));
  return ClientIdentity{config_.mon_host, config_.user, key.text(), config_.fs_name,
                        static_cast<int>(config_.timeout.count())};
}

Result<int> Cluster::Operate(TimePoint deadline, const std::function<int(void* ioctx)>& operation) {
  GANTRY_PLUGIN_TRY_ASSIGN(const Shared connection, Connect(deadline));
  const auto number = std::make_shared<int>(0);
  GANTRY_PLUGIN_TRY(objects_.Run(deadline, [connection, number, operation] {
    *number = std::abs(operation(connection->pool()));
  }));
  if (*number == ESHUTDOWN || *number == ENOTCONN || *number == EACCES || *number == EPERM)
    Drop(connection);
  return *number;
}

void Cluster::OperateLater(const std::function<int(void* ioctx)>& operation) {
  Shared connection;
  {
    const std::lock_guard lock(mutex_);
    connection = connection_;
  }
  if (connection == nullptr) return;
  (void)objects_.Post([connection, operation] { (void)operation(connection->pool()); });
}

}  // namespace gantry::cephfs

// SPDX-License-Identifier: Apache-2.0
// CreateVolume and DeleteVolume on an NFS server against the same durable NFS operations issued by
// libnfs without anything around them, the trash emptied on both sides before the clock stops.
// Which operations these are is counted on the wire first, and the two sides must agree. Also:
// memory at rest.
//
// The bare side goes through libnfs's sync functions, a context a thread, with the shortest paths
// there can be; it empties what it has deleted at once, in the client's own thread. Since those
// functions walk a path anew for every operation, a third side without a goal shows the floor: the
// changing calls alone, by handles that it remembers.
#include <csi/v1/csi.grpc.pb.h>
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <nfsc/libnfs.h>
#include <poll.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "plugins/nfs/nfs_storage.hpp"
#include "tests/bench/nfs_counter.hpp"
#include "tests/bench/rounds.hpp"
#include "tests/lab/ganesha.hpp"
#include "tests/lab/gantryd.hpp"

namespace gantry::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kRounds = 5;
constexpr std::chrono::seconds kRoundSeconds{5};  // Of making and deleting; then the trash.
constexpr size_t kManyClients = 16;
constexpr int kCountedVolumes = 10;
constexpr std::chrono::milliseconds kCallMsMax{30'000};
constexpr std::chrono::milliseconds kTrashMsMax{60'000};
constexpr std::chrono::milliseconds kTrashLookMs{5};
constexpr int kBareCallMsMax = 10'000;
constexpr size_t kRecordBytes = 700;  // As long as a record of the other side is.
constexpr double kRatioGoal = 0.70;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

// --- gantryd --------------------------------------------------------------------------------

class Csi {
 public:
  explicit Csi(const std::string& endpoint) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stub_ = csi::v1::Controller::NewStub(
        grpc::CreateCustomChannel(endpoint, grpc::InsecureChannelCredentials(), arguments));
  }

  std::string Create(const std::string& name) {
    csi::v1::CreateVolumeRequest request;
    request.set_name(name);
    request.mutable_capacity_range()->set_required_bytes(1 << 30);
    auto* capability = request.add_volume_capabilities();
    capability->mutable_mount();
    capability->mutable_access_mode()->set_mode(
        csi::v1::VolumeCapability::AccessMode::MULTI_NODE_MULTI_WRITER);
    csi::v1::CreateVolumeResponse response;
    Need(stub_->CreateVolume(lab::Within(kCallMsMax).get(), request, &response), "CreateVolume");
    return response.volume().volume_id();
  }

  void Delete(const std::string& id) {
    csi::v1::DeleteVolumeRequest request;
    request.set_volume_id(id);
    csi::v1::DeleteVolumeResponse response;
    Need(stub_->DeleteVolume(lab::Within(kCallMsMax).get(), request, &response), "DeleteVolume");
  }

 private:
  static void Need(const grpc::Status& status, const char* what) {
    if (!status.ok()) Die(std::string(what) + ": " + status.error_message());
  }

  std::unique_ptr<csi::v1::Controller::Stub> stub_;
};

std::unique_ptr<lab::Gantryd> StartHost(const lab::Ganesha& server, uint16_t nfs_port) {
  lab::GantrydOptions options;
  options.backends =
      "  nfs:\n    plugin: nfs\n    owner: bench\n    uid: 61010\n    config:\n"
      "      shares: [{server: 127.0.0.1, share: " +
      server.export_path() + ", port: " + std::to_string(nfs_port) +
      ", mountPort: " + std::to_string(server.mount_port()) + "}]\n";
  options.driver_backends = "[nfs]";
  options.log_level = "info";
  auto host = lab::Gantryd::Start(options);
  if (!host) Die(host.error().message);
  return std::move(*host);
}

// A directory on the server's side tells nobody that it has become empty.
void Pause(std::chrono::milliseconds duration) {
  poll(nullptr, 0, static_cast<int>(duration.count()));
}

// Looked at behind the server's back, so that looking costs the server nothing.
void AwaitEmptyTrash(const lab::Ganesha& server) {
  const auto end = Clock::now() + kTrashMsMax;
  while (!fs::is_empty(server.root() / ".gantry/trash")) {
    if (Clock::now() > end) Die("the trash is not emptied");
    Pause(kTrashLookMs);
  }
}

// --- bare libnfs ----------------------------------------------------------------------------

class Bare {
 public:
  Bare(const lab::Ganesha& server, uint16_t nfs_port) : nfs_(nfs_init_context()) {
    const std::string text = "nfs://127.0.0.1" + server.export_path() +
                             "/?version=3&nfsport=" + std::to_string(nfs_port) +
                             "&mountport=" + std::to_string(server.mount_port());
    nfs_url* url = nfs_parse_url_dir(nfs_, text.c_str());
    if (url == nullptr) Die(nfs_get_error(nfs_));
    nfs_set_timeout(nfs_, kBareCallMsMax);
    nfs_set_autoreconnect(nfs_, 0);
    nfs_set_uid(nfs_, 0);
    nfs_set_gid(nfs_, 0);
    nfs_umask(nfs_, 0);
    Need(nfs_mount(nfs_, url->server, url->path), "mount");
    nfs_destroy_url(url);
  }
  Bare(const Bare&) = delete;
  Bare& operator=(const Bare&) = delete;
  ~Bare() { nfs_destroy_context(nfs_); }

  // The four directories of Gantry's layout.
  void MakeLayout() {
    for (const char* name : {"/v", "/c", "/a", "/t"}) Mkdir(name, 0700);
  }

  // volumes_create.cpp, record_chain.cpp, claims.cpp.
  void Create(const std::string& name) {
    const std::string record = "/v/" + name;
    Mkdir(record, 0700);
    Mkdir("/a/" + name, 0777);
    WriteNew(record + "/.new-1");
    Link(record + "/.new-1", record + "/1");
    Unlink(record + "/.new-1");
    Mkdir("/c/" + name, 0700);
    Link(record + "/1", "/c/" + name + "/=claim");
    Rename("/a/" + name, "/" + name);
    WriteNew(record + "/.new-2");
    Link(record + "/.new-2", record + "/2");
    Rename(record + "/.new-2", record + "/1");
  }

  // volumes_delete.cpp.
  void Delete(const std::string& name) {
    const std::string record = "/v/" + name;
    Mkdir(Grave(name), 0700);
    Mkdir(Hold(name), 0700);
    WriteNew(record + "/.new-3");
    Link(record + "/.new-3", record + "/3");
    Rename(record + "/.new-3", record + "/2");
    Rename("/" + name, Hold(name) + "/data");
    Unlink("/c/" + name + "/=claim");
    Rmdir("/c/" + name);
    Rename(record, Grave(name) + "/record");
  }

  // trash.cpp.
  void EmptyTrash(const std::string& name) {
    for (const char* version : {"/1", "/2", "/3"}) Unlink(Grave(name) + "/record" + version);
    Rmdir(Grave(name) + "/record");
    Rmdir(Grave(name));
    Rmdir(Hold(name) + "/data");
    Rmdir(Hold(name));
  }

 private:
  static std::string Grave(const std::string& name) { return "/t/r" + name; }
  static std::string Hold(const std::string& name) { return "/t/d" + name; }

  void Need(int result, const std::string& what) {
    if (result < 0) Die("bare: " + what + ": " + nfs_get_error(nfs_));
  }
  void Mkdir(const std::string& path, int mode) {
    Need(nfs_mkdir2(nfs_, path.c_str(), mode), "mkdir " + path);
  }
  void Rmdir(const std::string& path) { Need(nfs_rmdir(nfs_, path.c_str()), "rmdir " + path); }
  void Unlink(const std::string& path) { Need(nfs_unlink(nfs_, path.c_str()), "unlink " + path); }
  void Link(const std::string& from, const std::string& to) {
    Need(nfs_link(nfs_, from.c_str(), to.c_str()), "link " + to);
  }
  void Rename(const std::string& from, const std::string& to) {
    Need(nfs_rename(nfs_, from.c_str(), to.c_str()), "rename " + from);
  }
  // Neither O_SYNC nor fsync: closing commits what was written in any case, and would do it twice.
  void WriteNew(const std::string& path) {
    nfsfh* file = nullptr;
    Need(nfs_open2(nfs_, path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600, &file), "create " + path);
    Need(nfs_pwrite(nfs_, file, 0, kRecordBytes, record_.data()), "write " + path);
    Need(nfs_close(nfs_, file), "close " + path);
  }

  nfs_context* const nfs_;
  std::string record_ = std::string(kRecordBytes, 'r');
};

// --- the floor ------------------------------------------------------------------------------

class Floor {
 public:
  explicit Floor(const lab::Ganesha& server)
      : client_(ServerOf(server), nfs::Credentials::Sys(0, 0, {}).value()),
        storage_(client_, nfs::kNoDeadline, kCallMsMax, [] { return false; }) {
    const auto root = client_.MountRoot(Clock::now() + kCallMsMax);
    if (!root) Die(root.error().message);
    root_ = nfs::NfsStorage::IdOf(*root);
    for (auto [name, id] :
         {std::pair{"v", &records_}, {"c", &claims_}, {"a", &attempts_}, {"t", &trash_}})
      *id = Need(storage_.Lookup(root_, name)).id;
  }

  void Live(const std::string& name) {
    const auto record = Make(records_, name, 0700);
    (void)Make(attempts_, name, 0777);
    auto file = WriteNew(record);
    NeedOk(storage_.Link(file, record, "1"));
    NeedOk(storage_.Remove(record, ".new"));
    const auto claim = Make(claims_, name, 0700);
    NeedOk(storage_.Link(file, claim, "=claim"));
    NeedOk(storage_.Rename(attempts_, name, root_, name));
    NeedOk(storage_.Link(WriteNew(record), record, "2"));
    NeedOk(storage_.Rename(record, ".new", record, "1"));

    const auto grave = Make(trash_, "r" + name, 0700);
    const auto hold = Make(trash_, "d" + name, 0700);
    NeedOk(storage_.Link(WriteNew(record), record, "3"));
    NeedOk(storage_.Rename(record, ".new", record, "2"));
    NeedOk(storage_.Rename(root_, name, hold, "data"));
    NeedOk(storage_.Remove(claim, "=claim"));
    NeedOk(storage_.RemoveDirectory(claims_, name));
    NeedOk(storage_.Rename(records_, name, grave, "record"));

    for (const char* version : {"1", "2", "3"}) NeedOk(storage_.Remove(record, version));
    NeedOk(storage_.RemoveDirectory(grave, "record"));
    NeedOk(storage_.RemoveDirectory(trash_, "r" + name));
    NeedOk(storage_.RemoveDirectory(hold, "data"));
    NeedOk(storage_.RemoveDirectory(trash_, "d" + name));
  }

 private:
  static nfs::Server ServerOf(const lab::Ganesha& server) {
    nfs::Server at;
    at.host = "127.0.0.1";
    at.export_path = server.export_path();
    at.nfs_port = server.port();
    at.mount_port = server.mount_port();
    return at;
  }
  static void NeedOk(const plugin::StoreStatus& status) {
    if (!status) Die("floor: " + status.error().error.message);
  }
  static plugin::Node Need(plugin::StoreResult<plugin::Node> node) {
    if (!node) Die("floor: " + node.error().error.message);
    return std::move(*node);
  }
  plugin::NodeId Make(const plugin::NodeId& directory, const std::string& name, uint32_t mode) {
    return Need(storage_.MakeDirectory(directory, name, {mode, {}, {}})).id;
  }
  plugin::NodeId WriteNew(const plugin::NodeId& directory) {
    return Need(storage_.CreateFile(directory, ".new", std::string(kRecordBytes, 'r'))).id;
  }

  nfs::SyncClient client_;
  nfs::NfsStorage storage_;
  plugin::NodeId root_;
  plugin::NodeId records_;
  plugin::NodeId claims_;
  plugin::NodeId attempts_;
  plugin::NodeId trash_;
};

// --- counting -------------------------------------------------------------------------------

struct Counted {
  NfsCalls create{};
  NfsCalls remove{};
  NfsCalls trash{};
};

// Each stage by itself, of kCountedVolumes volumes.
Counted CountOurs(const lab::Ganesha& server) {
  NfsCounter counter(server.port());
  const auto host = StartHost(server, counter.port());
  Csi csi(host->endpoint());
  csi.Delete(csi.Create("count-first"));  // Makes .gantry.
  AwaitEmptyTrash(server);
  Pause(std::chrono::seconds(1));  // Until the lease is off the wire as well.

  Counted counted;
  std::vector<std::string> ids;
  auto before = counter.calls();
  for (int i = 0; i < kCountedVolumes; ++i) ids.push_back(csi.Create("count-" + std::to_string(i)));
  auto after = counter.calls();
  counted.create = after - before;
  for (const auto& id : ids) csi.Delete(id);
  before = counter.calls();
  counted.remove = before - after;
  AwaitEmptyTrash(server);
  counted.trash = counter.calls() - before;
  return counted;
}

Counted CountTheirs(const lab::Ganesha& server) {
  NfsCounter counter(server.port());
  Bare bare(server, counter.port());
  Counted counted;
  const auto each = [&](auto&& action) {
    const auto before = counter.calls();
    for (int i = 0; i < kCountedVolumes; ++i) action("count-" + std::to_string(i));
    return counter.calls() - before;
  };
  counted.create = each([&](const std::string& name) { bare.Create(name); });
  counted.remove = each([&](const std::string& name) { bare.Delete(name); });
  counted.trash = each([&](const std::string& name) { bare.EmptyTrash(name); });
  return counted;
}

double PerVolume(int64_t calls) { return static_cast<double>(calls) / kCountedVolumes; }

void PrintCalls(const char* side, const char* stage, const NfsCalls& calls) {
  int64_t all = 0;
  int64_t modifying = 0;
  std::string each;
  for (size_t i = 0; i < kProcedures; ++i) {
    all += calls[i];
    if (Modifies(i)) modifying += calls[i];
    if (calls[i] == 0) continue;
    char text[64];
    std::snprintf(text, sizeof text, " %s %.1f", kProcedureNames[i], PerVolume(calls[i]));
    each += text;
  }
  std::printf("%-7s %-6s %5.1f calls a volume, %4.1f modify:%s\n", side, stage, PerVolume(all),
              PerVolume(modifying), each.c_str());
}

// The bare side may never do more than the one it is the measure for. The trash task's lease comes
// on top of what is counted.
void CompareCounts(const lab::Ganesha& server) {
  const Counted ours = CountOurs(server);
  const Counted theirs = CountTheirs(server);
  PrintCalls("gantryd", "create", ours.create);
  PrintCalls("bare", "create", theirs.create);
  PrintCalls("gantryd", "delete", ours.remove);
  PrintCalls("bare", "delete", theirs.remove);
  PrintCalls("gantryd", "trash", ours.trash);
  PrintCalls("bare", "trash", theirs.trash);
  // Gantry's WRITE is durable by itself (FILE_SYNC), libnfs's by a COMMIT.
  const auto is_commit = [](size_t i) { return kProcedureNames[i] == std::string("COMMIT"); };
  const auto check = [&](const char* stage, const NfsCalls& mine, const NfsCalls& other) {
    for (size_t i = 0; i < kProcedures; ++i)
      if (Modifies(i) && !is_commit(i) && other[i] > mine[i])
        Die(std::string("the bare side's ") + stage + " makes more calls of " + kProcedureNames[i]);
  };
  check("create", ours.create, theirs.create);
  check("delete", ours.remove, theirs.remove);
  check("trash", ours.trash, theirs.trash);
}

// --- timing ---------------------------------------------------------------------------------

// Volumes a second of so many clients; `live(client, name)` is one volume's life, and
// `finish` returns when nothing is left.
double Round(size_t clients, const std::function<void(size_t, const std::string&)>& live,
             const std::function<void()>& finish) {
  static std::atomic<uint64_t> names = 0;
  std::atomic<uint64_t> volumes = 0;
  const auto begin = Clock::now();
  std::vector<std::thread> threads;
  for (size_t i = 0; i < clients; ++i)
    threads.emplace_back([&, i] {
      while (Clock::now() < begin + kRoundSeconds) {
        live(i, "pvc-" + std::to_string(++names));
        ++volumes;
      }
    });
  for (auto& thread : threads) thread.join();
  finish();
  const std::chrono::duration<double> took = Clock::now() - begin;
  return static_cast<double>(volumes) / took.count();
}

double ResidentMiB(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) / 1024;
  return 0;
}

void Time(const lab::Ganesha& server, const lab::Gantryd& host) {
  std::vector<std::unique_ptr<Csi>> ours;
  std::vector<std::unique_ptr<Bare>> theirs;
  std::vector<std::unique_ptr<Floor>> floor;
  for (size_t i = 0; i < kManyClients; ++i) {
    ours.push_back(std::make_unique<Csi>(host.endpoint()));
    theirs.push_back(std::make_unique<Bare>(server, server.port()));
    floor.push_back(std::make_unique<Floor>(server));
  }
  const auto our_life = [&](size_t i, const std::string& name) {
    ours[i]->Delete(ours[i]->Create(name));
  };
  const auto their_life = [&](size_t i, const std::string& name) {
    theirs[i]->Create(name);
    theirs[i]->Delete(name);
    theirs[i]->EmptyTrash(name);
  };
  const auto floor_life = [&](size_t i, const std::string& name) { floor[i]->Live(name); };
  our_life(0, "first");
  AwaitEmptyTrash(server);
  their_life(0, "first");
  floor_life(0, "first");
  for (const size_t clients : {size_t{1}, kManyClients}) {
    std::vector<double> our_rate;
    std::vector<double> their_rate;
    std::vector<double> floor_rate;
    std::vector<double> ratio;
    std::vector<double> floor_ratio;
    for (int round = 0; round < kRounds; ++round) {
      our_rate.push_back(Round(clients, our_life, [&] { AwaitEmptyTrash(server); }));
      their_rate.push_back(Round(clients, their_life, [] {}));
      ratio.push_back(our_rate.back() / their_rate.back());
      // Of one client alone: Ganesha's RENAMEs between directories may wait for each other without
      // end, and the floor makes nothing anew.
      if (clients > 1) continue;
      floor_rate.push_back(Round(clients, floor_life, [] {}));
      floor_ratio.push_back(our_rate.back() / floor_rate.back());
    }
    std::printf("%2zu clients, volumes a second: gantryd %s\n", clients, Spread(our_rate).c_str());
    std::printf("                               bare    %s\n", Spread(their_rate).c_str());
    if (!floor_rate.empty()) {
      std::printf("                               floor   %s\n", Spread(floor_rate).c_str());
      std::printf("                               gantryd of floor: median %.2f\n",
                  Percentile(floor_ratio, 0.5));
    }
    std::printf("                               ratio   median %.2f (least %.2f, most %.2f)\n",
                Percentile(ratio, 0.5), Percentile(ratio, 0), Percentile(ratio, 1));
    const std::string what =
        "create + delete with " + std::to_string(clients) + " clients, of bare";
    Goal(what.c_str(), Percentile(ratio, 0.5), ">=", kRatioGoal, "");
    std::fflush(stdout);
  }
}

int Main() {
  lab::GaneshaOptions options;
  auto server = lab::Ganesha::Start(std::move(options));
  if (!server) Die(server.error().message);
  Bare(*server, server->port()).MakeLayout();
  CompareCounts(*server);
  std::fflush(stdout);

  const auto host = StartHost(*server, server->port());
  Time(*server, *host);
  const auto idle = StartHost(*server, server->port());
  Goal("gantryd with the NFS backend at rest, resident", ResidentMiB(idle->pid()), "<=", 25, "MiB");
  for (const pid_t pid : idle->WorkerPids("nfs"))
    Goal("NFS worker at rest, resident", ResidentMiB(pid), "<=", 8, "MiB");
  for (const pid_t pid : host->WorkerPids("nfs"))
    std::printf("%-58s %9.2f MiB\n", "NFS worker after the load, resident", ResidentMiB(pid));
  return 0;
}

}  // namespace
}  // namespace gantry::bench

int main() { return gantry::bench::Main(); }

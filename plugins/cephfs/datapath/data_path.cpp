// SPDX-License-Identifier: Apache-2.0
// The life of an opened volume, and what all operations share.
#include "plugins/cephfs/datapath/data_path.hpp"

#include <cephfs/libcephfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <gantry/gantry.hpp>
#include <utility>

#include "plugins/cephfs/datapath/attempt.hpp"
#include "plugins/cephfs/datapath/caller.hpp"
#include "plugins/cephfs/datapath/convert.hpp"

namespace gantry::cephfs {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds kSweepEvery{1};

int64_t ToHostTime(TimePoint time) {
  if (time == kNever) return INT64_MAX;
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

}  // namespace

CephDataPath::CephDataPath(const gantry_datapath_host& host, DataPathOwner owner, KeyOf key_of,
                           DataPathLog log)
    : host_(host),
      owner_(std::move(owner)),
      key_of_(std::move(key_of)),
      log_(std::move(log)),
      jobs_([this](gantry_op op, int error_number) {
        host_.done_error(host_.ctx, op, error_number);
      }) {}

CephDataPath::~CephDataPath() {
  if (armed_ns_ != INT64_MAX) host_.timer(host_.ctx, INT64_MAX, nullptr, nullptr);
  if (watched_) (void)host_.watch(host_.ctx, jobs_.fd(), 0, nullptr, nullptr);
}

void CephDataPath::Watch() {
  if (watched_) return;
  watched_ = host_.watch(
                 host_.ctx, jobs_.fd(), GANTRY_FS_READABLE,
                 [](void* self, uint32_t) {
                   auto* path = static_cast<CephDataPath*>(self);
                   path->jobs_.OnReadable();
                   path->Arm();
                 },
                 this) == 0;
}

// The timer may fire early and then finds nothing to do: most deadlines are never reached.
void CephDataPath::Arm() {
  const int64_t at_ns = ToHostTime(std::min(jobs_.NextAt(), sweep_at_));
  if (at_ns >= armed_ns_) return;
  armed_ns_ = at_ns;
  host_.timer(
      host_.ctx, at_ns, [](void* self) { static_cast<CephDataPath*>(self)->OnTime(); }, this);
}

void CephDataPath::OnTime() {
  armed_ns_ = INT64_MAX;
  const auto now = steady_clock::now();
  jobs_.OnTime(now);
  if (sweep_at_ <= now) {
    sweep_at_ = kNever;
    Sweep();
  }
  Arm();
}

// Closes what is open without need, on a thread.
void CephDataPath::Sweep() {
  if (!mounted_ || sweeping_) return;
  Discard(listings_.TakeOld(steady_clock::now()));
  sweeping_ = true;
  jobs_.Submit(
      Background([this, mounted = mounted_, times = std::exchange(times_held_, {})]() -> Finish {
        for (const Handle& handle : times)
          if (const auto inode = mounted->inodes->Find(handle))
            (void)ceph_ll_sync_inode(mounted->client->get(), (*inode)->get(), /*syncdataonly=*/0);
        const bool more = mounted->inodes->CloseIdle(steady_clock::now());
        if (!more) ReturnFreeMemory();
        return [this, more](gantry_op) {
          sweeping_ = false;
          if (more || !listings_.empty() || !times_held_.empty())
            sweep_at_ = steady_clock::now() + kSweepEvery;
        };
      }));
}

tl::expected<std::shared_ptr<Node>, int> CephDataPath::At::Find(const Handle& handle) {
  auto node = inodes->Find(handle);
  if (node && !(*node)->is_kept()) found.push_back(*node);
  return node;
}

void CephDataPath::Keep(Inodes& inodes, std::shared_ptr<Node> node) {
  jobs_.LetGo(inodes.Keep(std::move(node)));
}

// A time of change that is not flushed yet (Setattr) is, by the next sweep, which finds the inode again.
void CephDataPath::Forget(gantry_bytes node) {
  const auto handle = ToHandle(node);
  if (!handle || !mounted_) return;
  jobs_.LetGo(mounted_->inodes->Drop(*handle));
  Arm();
}

tl::expected<CephDataPath::Opened, ClientError> CephDataPath::Connect(
    const DataPathOptions& options, const std::string& key, const std::string& uuid, bool successor,
    const DataPathLog& log) {
  auto client = Client::Mount(options, key, uuid, log);
  if (!client) return tl::unexpected(client.error());
  ceph_mount_info* const mount = (*client)->get();
  const Caller root_user(gantry_fs_context{});
  Inode* root = nullptr;
  struct ceph_statx found {};
  const std::string inside = InSnapshot(options.path);
  int result = inside.empty() ? ceph_ll_lookup_root(mount, &root)
                              : ceph_ll_walk(mount, inside.c_str(), &root, &found,
                                             CEPH_STATX_BASIC_STATS, 0, root_user.get());
  if (result == 0 && inside.empty())
    result = ceph_ll_getattr(mount, root, &found, CEPH_STATX_BASIC_STATS, 0, root_user.get());
  if (result != 0) return tl::unexpected(ClientError{-result, "the volume's root"});
  auto mounted = std::make_shared<Mounted>();
  mounted->client = *client;
  mounted->inodes = std::make_shared<Inodes>(*client, successor);
  mounted->root = mounted->inodes->Take(root, HandleOf(found));
  return Opened{std::move(mounted), HandleOf(found), ToHost(found)};
}

void CephDataPath::Open(gantry_op op, const gantry_datapath_open& request) {
  const auto refuse = [&](int error_number, std::string_view why) {
    log_(GANTRY_LOG_ERROR, "open: " + std::string(why));
    host_.done_error(host_.ctx, op, error_number);
  };
  if (mounted_) return refuse(EBUSY, "it is open already");
  if (*opening_) return refuse(EAGAIN, "an earlier attempt has not ended");
  auto options = ParseDataPathOptions(request.parameters);
  if (!options) return refuse(EINVAL, options.error().message);
  auto key = key_of_(request.parameters);
  if (!key) return refuse(EACCES, key.error().message);
  Watch();
  if (!watched_) return refuse(ENOMEM, "no fd to wait on");
  options_ = *std::move(options);
  if (!journal_->Prepare(host_)) return refuse(ENOMEM, "the host gives no region for the journal");
  *opening_ = true;
  const std::string uuid = SessionUuid(owner_.owner, owner_.node_id, View(request.volume_key));
  auto work = [this, options = options_, key = *std::move(key), uuid,
               successor = journal_->is_inherited(), log = log_,
               opening = opening_]() mutable -> Finish {
    auto opened = Connect(options, key, uuid, successor, log);
    explicit_bzero(key.data(), key.size());
    *opening = false;
    return [this, opened = std::move(opened)](gantry_op at) {
      if (!opened) {
        log_(GANTRY_LOG_ERROR, "open: " + opened.error().what);
        return host_.done_error(host_.ctx, at, opened.error().error_number);
      }
      mounted_ = opened->mounted;
      Keep(*mounted_->inodes, mounted_->root);
      ReturnUnusedStack();
      host_.done_node(host_.ctx, at, opened->root.bytes(), &opened->attributes);
    };
  };
  jobs_.Submit({op, Lane::kNames, {}, std::move(work), steady_clock::now() + kOpenMax});
  Arm();
}

void CephDataPath::Close(gantry_op op) {
  const auto mounted = std::exchange(mounted_, nullptr);
  Discard(listings_.TakeOld(kNever));
  journal_->Clear();
  if (!mounted) return host_.done(host_.ctx, op);
  // What is stuck in the client can't be unmounted under; whoever comes next ends the session.
  if (jobs_.Abandoned() > 0) {
    log_(GANTRY_LOG_WARNING, std::to_string(jobs_.Abandoned()) +
                                 " operations are still stuck: the session is left behind");
    return host_.done(host_.ctx, op);
  }
  Order unmount{op,
                Lane::kNames,
                {},
                [this, mounted]() -> Finish {
                  mounted->inodes->Clear();
                  mounted->client->Unmount();
                  return Done();
                },
                steady_clock::now() + kCloseMax};
  // A sweep, or a request that outlasted the drain, still uses what is unmounted.
  unmount.alone = true;
  jobs_.Submit(std::move(unmount));
  Arm();
}

void CephDataPath::Interrupt(gantry_op op) { jobs_.Interrupt(op); }

void CephDataPath::Run(gantry_op op, Lane lane, const gantry_fs_context& context,
                       std::vector<Handle> changes, Work work, size_t bytes) {
  if (!mounted_) return host_.done_error(host_.ctx, op, ENOTCONN);
  // The host asks for all repetitions before anything new.
  if ((context.flags & GANTRY_FS_REPLAYED) == 0) journal_->DropPast();
  if (sweep_at_ == kNever && !sweeping_) sweep_at_ = steady_clock::now() + kSweepEvery;
  auto caller = std::make_shared<Caller>(context);
  jobs_.Submit(
      {op, lane, std::move(changes),
       [this, mounted = mounted_, caller = std::move(caller), work = std::move(work)]() -> Finish {
         At at(*mounted);
         Finish finish = work(at, *caller);
         if (at.found.empty()) return finish;
         return [this, inodes = at.inodes, found = std::move(at.found),
                 finish = std::move(finish)](gantry_op done) mutable {
           for (auto& node : found) Keep(*inodes, std::move(node));
           finish(done);
         };
       },
       steady_clock::now() + options_.timeout, bytes});
  Arm();
}

void CephDataPath::RunChange(gantry_op op, const gantry_fs_context& context,
                             std::vector<Handle> changes, ChangeWork work) {
  auto attempt = std::make_shared<Attempt>(op, (context.flags & GANTRY_FS_REPLAYED) != 0,
                                           options_.one_node ? nullptr : journal_);
  Run(op, Lane::kNames, context, std::move(changes),
      [attempt = std::move(attempt), work = std::move(work)](At& at, const Caller& who) {
        // Noted until the end was told.
        return Finish(
            [attempt, finish = work(at, who, *attempt)](gantry_op done) { finish(done); });
      });
}

Finish CephDataPath::Fail(int error_number) const {
  return [this, error_number = std::abs(error_number)](gantry_op op) {
    host_.done_error(host_.ctx, op, error_number);
  };
}

Finish CephDataPath::Done() const {
  return [this](gantry_op op) { host_.done(host_.ctx, op); };
}

Finish CephDataPath::DoneAttributes(const struct ceph_statx& found) const {
  return [this, attributes = ToHost(found)](gantry_op op) {
    host_.done_attributes(host_.ctx, op, &attributes);
  };
}

Finish CephDataPath::DoneNode(const Mounted& mounted, const Made& made) {
  const Handle handle = HandleOf(made.found);
  auto node = mounted.inodes->Take(made.inode, handle);
  if (made.file != nullptr) mounted.inodes->AdoptFile(node, made.file);
  return [this, handle, node = std::move(node), inodes = mounted.inodes,
          attributes = ToHost(made.found)](gantry_op op) mutable {
    Keep(*inodes, std::move(node));
    host_.done_node(host_.ctx, op, handle.bytes(), &attributes);
  };
}

}  // namespace gantry::cephfs

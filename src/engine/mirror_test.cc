#include "engine/mirror.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace gannet::engine {
namespace {

constexpr IpAddress ip(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) { return IpAddress::ipv4(a, b, c, d); }

struct Face final : link::Link {
  explicit Face(std::string name, std::size_t mtu) { caps_ = {.name = std::move(name), .mtu = mtu, .mac = {}, .ethernet = false}; }
  [[nodiscard]] const link::Caps& caps() const override { return caps_; }
  [[nodiscard]] const link::Counters& counters() const override { return counters_; }
  std::size_t receive(std::span<Frame>, FramePools&, Time) override { return 0; }
  std::size_t send(std::span<Frame> frames, Time) override {
    for (Frame& frame : frames) frame.release();
    return frames.size();
  }
  [[nodiscard]] int fd() const override { return -1; }
  link::Caps caps_;
  link::Counters counters_;
};

class MirrorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    EngineSetup setup;
    setup.stack.interfaces = 4;
    setup.stack.addresses_per_interface = 3;
    setup.stack.routes = 3;
    engine_ = Engine::create(setup).value();
    engine_->stack().attach_claims(
        {.self = this,
         .claim = [](void*, const Address&, bool, bool) { return Result<void>(); },
         .release = [](void*, const Address&) {},
         .update_group = [](void*, const IpAddress&, std::uint32_t, const stack::SourceFilter&) { return Result<void>(); }});
  }
  Omitted apply() {
    return engine_->call([&] { return reconcile(kernel_, *engine_, hooks_); });
  }
  const stack::Interface* find(std::uint32_t index) { return engine_->stack().interfaces().find(index); }
  // By which interface, and from which address, a datagram would go.
  Result<stack::Path> path(const IpAddress& dst) { return engine_->stack().ip().find_path(dst, {}, 0); }

  KernelHost kernel_{
      .interfaces = {{.index = 1, .name = "lo", .mtu = 65536, .up = true},
                     {.index = 7, .name = "eth0", .mtu = 1500, .up = true},
                     {.index = 300, .name = "wlan0", .mtu = 1400, .up = false}},
      .addresses = {{1, ip(127, 0, 0, 1), 8}, {7, ip(192, 0, 2, 1), 24}, {300, ip(198, 51, 100, 1), 24}},
      .routes = {{.network = {}, .prefix = 0, .gateway = ip(192, 0, 2, 254), .interface = 7, .metric = 0, .source = {}},
                 {.network = ip(192, 0, 2, 0), .prefix = 24, .gateway = {}, .interface = 7, .metric = 0, .source = ip(192, 0, 2, 1)}},
  };
  std::map<std::uint32_t, int> opened_;
  std::vector<IpAddress> own_;
  MirrorHooks hooks_{.open_face = [this](std::uint32_t interface, const std::string& name, std::size_t mtu) -> Result<std::unique_ptr<link::Link>> {
                       ++opened_[interface];
                       return std::unique_ptr<link::Link>(std::make_unique<Face>(name, mtu));
                     },
                     .own_addresses = [this](std::span<const IpAddress> own) { own_.assign(own.begin(), own.end()); }};
  std::unique_ptr<Engine> engine_;
};

TEST_F(MirrorTest, MakesTheStackWhatTheKernelIs) {
  EXPECT_EQ(apply(), Omitted{});
  ASSERT_NE(find(7), nullptr);
  EXPECT_EQ(find(7)->name(), "eth0");
  EXPECT_EQ(find(7)->mtu(), 1500u);
  EXPECT_TRUE(find(7)->is_up());
  EXPECT_TRUE(find(7)->is_guest());
  ASSERT_NE(find(300), nullptr);
  EXPECT_FALSE(find(300)->is_up());
  EXPECT_EQ(find(1)->mtu(), 65535u);
  EXPECT_EQ(opened_, (std::map<std::uint32_t, int>{{1, 1}, {7, 1}, {300, 1}}));
  EXPECT_EQ(own_, (std::vector{ip(127, 0, 0, 1), ip(192, 0, 2, 1), ip(198, 51, 100, 1)}));

  EXPECT_EQ(path(ip(192, 0, 2, 9))->interface, 7u);
  EXPECT_EQ(path(ip(203, 0, 113, 9))->next_hop, ip(192, 0, 2, 254));
  EXPECT_EQ(path(ip(203, 0, 113, 9))->src, ip(192, 0, 2, 1));
  EXPECT_EQ(path(ip(198, 51, 100, 1))->kind, stack::PathKind::local);
}

TEST_F(MirrorTest, ChangesNothingTwice) {
  apply();
  const auto generation = engine_->stack().generation();
  EXPECT_EQ(apply(), Omitted{});
  EXPECT_EQ(engine_->stack().generation(), generation);
  EXPECT_EQ(opened_[7], 1);
}

TEST_F(MirrorTest, FollowsWhatComesAndGoes) {
  apply();
  kernel_.interfaces.erase(kernel_.interfaces.begin() + 1);
  kernel_.interfaces.push_back({.index = 8, .name = "eth1", .mtu = 9000, .up = true});
  kernel_.interfaces[1].up = true;
  kernel_.interfaces[1].mtu = 1300;
  kernel_.addresses = {{1, ip(127, 0, 0, 1), 8}, {300, ip(198, 51, 100, 1), 25}, {8, ip(192, 0, 2, 1), 24}};
  kernel_.routes = {{.network = {}, .prefix = 0, .gateway = ip(198, 51, 100, 2), .interface = 300, .metric = 0, .source = {}}};
  EXPECT_EQ(apply(), Omitted{});
  EXPECT_EQ(find(7), nullptr);
  EXPECT_EQ(engine_->link(7), nullptr);
  ASSERT_NE(find(8), nullptr);
  EXPECT_NE(find(8)->find(ip(192, 0, 2, 1)), nullptr) << "an address that moved";
  EXPECT_EQ(find(300)->find(ip(198, 51, 100, 1))->prefix, 25);
  EXPECT_EQ(find(300)->mtu(), 1300u);
  EXPECT_EQ(path(ip(203, 0, 113, 9))->interface, 300u);
  EXPECT_EQ(path(ip(203, 0, 113, 9))->src, ip(198, 51, 100, 1));
}

// The lower metric wins between two interfaces on one network, as in the kernel.
TEST_F(MirrorTest, TakesNetworksFromRoutes) {
  kernel_.interfaces[2].up = true;
  kernel_.addresses[2].ip = ip(192, 0, 2, 2);
  kernel_.routes = {{.network = ip(192, 0, 2, 0), .prefix = 24, .gateway = {}, .interface = 7, .metric = 600, .source = ip(192, 0, 2, 1)},
                    {.network = ip(192, 0, 2, 0), .prefix = 24, .gateway = {}, .interface = 300, .metric = 100, .source = ip(192, 0, 2, 2)}};
  EXPECT_EQ(apply(), Omitted{});
  EXPECT_EQ(path(ip(192, 0, 2, 9))->interface, 300u);
  EXPECT_EQ(path(ip(192, 0, 2, 9))->src, ip(192, 0, 2, 2));
  kernel_.routes.clear();
  apply();
  EXPECT_EQ(path(ip(192, 0, 2, 9)).error().code, ENETUNREACH) << "no route, though an address is there (noprefixroute)";
}

// A group may be routed to lo, as tests on one machine do.
TEST_F(MirrorTest, HasRoutesByLoopback) {
  kernel_.routes.push_back({.network = ip(224, 0, 0, 0), .prefix = 4, .gateway = {}, .interface = 1, .metric = 0, .source = {}});
  EXPECT_EQ(apply(), Omitted{});
  EXPECT_EQ(path(ip(239, 1, 2, 3))->interface, 1u);
}

TEST_F(MirrorTest, CountsWhatExceedsItsBounds) {
  for (std::uint32_t index = 10; index < 14; ++index) kernel_.interfaces.push_back({.index = index, .name = "x", .mtu = 1500, .up = true});
  for (std::uint8_t last = 2; last < 6; ++last) kernel_.addresses.push_back({7, ip(192, 0, 2, last), 24});
  kernel_.addresses.push_back({13, ip(10, 0, 0, 1), 8});
  for (std::uint8_t third = 0; third < 5; ++third) {
    kernel_.routes.push_back({.network = ip(10, 0, third, 0), .prefix = 24, .gateway = {}, .interface = 7, .metric = 0, .source = {}});
  }
  EXPECT_EQ(apply(), (Omitted{.interfaces = 3, .addresses = 2, .routes = 4}));
  EXPECT_NE(find(13), nullptr) << "interfaces with addresses come first";
  EXPECT_NE(find(300), nullptr);
}

// Without a way out an interface would be a hole: it is not there, and counts as omitted; and it comes when the way is there.
TEST_F(MirrorTest, OmitsAnInterfaceWithoutAWayOut) {
  const auto open_face = std::exchange(hooks_.open_face, [](std::uint32_t interface, const std::string& name, std::size_t mtu) {
    if (interface == 7) return Result<std::unique_ptr<link::Link>>(Error{EMFILE});
    return Result<std::unique_ptr<link::Link>>(std::make_unique<Face>(name, mtu));
  });
  EXPECT_EQ(apply(), (Omitted{.interfaces = 1, .addresses = 1, .routes = 2}));
  EXPECT_EQ(find(7), nullptr);
  EXPECT_EQ(path(ip(192, 0, 2, 9)).error().code, ENETUNREACH);
  hooks_.open_face = open_face;
  EXPECT_EQ(apply(), Omitted{});
  EXPECT_EQ(path(ip(192, 0, 2, 9))->interface, 7u);
}

// This machine's kernel, whatever it has.
TEST(KernelNetwork, IsRead) {
  const auto kernel = read_kernel();
  ASSERT_TRUE(kernel) << kernel.error().message();
  const auto lo = std::ranges::find(kernel->interfaces, 1u, &KernelInterface::index);
  ASSERT_NE(lo, kernel->interfaces.end());
  EXPECT_EQ(lo->name, "lo");
  EXPECT_EQ(lo->up, std::ranges::find(kernel->addresses, ip(127, 0, 0, 1), &KernelAddress::ip) != kernel->addresses.end());
}

}  // namespace
}  // namespace gannet::engine

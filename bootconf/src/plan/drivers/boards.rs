//! What boards have instead of cards: NICs that are part of the processor's chip and stand in a device tree, or in ACPI's tables, on
//! no bus that tells numbers. Nobody hears of such a NIC before its machine is up, so all of these are common ones.
//!
//! Each is a module's name. What a kernel does not have is left out, so a list too long costs nothing but its lines; init loads
//! of them what the machine's own devices ask for.

use oneroot_initrd::modules::Tables;

/// The NICs.
pub(super) const NICS: [&str; 38] = [
    // Of the Raspberry Pi 4, and of the 5.
    "genet",
    "macb",
    // The core of Synopsys', by what each maker has built around it.
    "dwmac_generic",
    "dwmac_rk",
    "dwmac_sun8i",
    "dwmac_sunxi",
    "dwmac_meson",
    "dwmac_meson8b",
    "dwmac_imx",
    "dwmac_qcom_ethqos",
    "dwmac_altr_socfpga",
    "dwmac_mediatek",
    "dwmac_stm32",
    "dwmac_tegra",
    "dwmac_starfive",
    "dwmac_thead",
    "sun4i_emac",
    "mvneta",
    "mvpp2",
    "fec",
    "fsl_dpa",
    "fsl_dpaa2_eth",
    "xgene_enet",
    "amd_xgbe",
    "hns_enet_drv",
    // On PCI within the chip, for who tells no numbers of it; the second has to be there for the first.
    "hns3",
    "hclge",
    "hix5hd2_gmac",
    "ravb",
    "sh_eth",
    "ti_am65_cpsw_nuss",
    "ti_cpsw",
    "ti_cpsw_new",
    "qcom_emac",
    "mtk_eth",
    "mtk_star_emac",
    "netsec",
    "smsc911x",
];

/// What such a NIC waits for, or one on the board's USB or PCIe: the kernel gives it to no driver before what the device tree names is there.
pub(super) const BESIDE: [&str; 56] = [
    // The bus to its PHY, where that is a device of its own.
    "mdio_bcm_unimac",
    "mdio_sun4i",
    "mdio_mux_mmioreg",
    "mdio_mux_meson_g12a",
    "mdio_mux_meson_gxl",
    "mvmdio",
    "davinci_mdio",
    "xgmac_mdio",
    "hns_mdio",
    "hns_dsaf",
    "fsl_mc_dpio",
    // The PHY, and what switches lines to it.
    "meson_gxl",
    "rockchip",
    "bcm7xxx",
    "dp83822",
    "dp83869",
    "adin",
    "phy_gmii_sel",
    "phy_mvebu_cp110_comphy",
    "phy_mvebu_a3700_comphy",
    // What feeds it, and the way there.
    "fixed",
    "gpio_regulator",
    "rk808",
    "rk8xx_i2c",
    "rk8xx_spi",
    "rk808_regulator",
    "fan53555",
    "i2c_rk3x",
    "spi_rockchip",
    "pinctrl_rockchip",
    "pinctrl_rk805",
    "axp20x_i2c",
    "axp20x_rsb",
    "axp20x_regulator",
    "sunxi_rsb",
    "i2c_mv64xxx",
    "i2c_imx",
    "pca9450_regulator",
    "bd718x7_regulator",
    "i2c_omap",
    "gpio_pca953x",
    // Hosts of PCIe, on which a board has a card's NIC, and what drives their lines.
    "pcie_rockchip_host",
    "pcie_brcmstb",
    "pci_meson",
    "pcie_rcar_host",
    "phy_rockchip_naneng_combphy",
    "phy_rockchip_snps_pcie3",
    "phy_rockchip_pcie",
    "phy_meson_axg_pcie",
    "phy_fsl_imx8m_pcie",
    "reset_brcmstb_rescal",
    // Hosts of USB, behind which Raspberry Pis before the fourth have their NIC.
    "dwc2",
    "phy_generic",
    "xhci_plat_hcd",
    "ehci_platform",
    "ohci_platform",
];

/// Whether machines of this kernel may be such boards. Kernels of x86 have some of these drivers too, for the same chips on cards; no
/// such machine has a device tree. No table says whose a kernel is, but each that has modules has some for the processor itself.
pub(super) fn may_run(tables: &Tables<'_>) -> bool {
    !tables.paths().any(|path| path.starts_with("kernel/arch/x86/"))
}

/// What such a NIC, or a card's, may wait for, of what the kernel has.
pub(super) fn beside<'t>(tables: &'t Tables<'_>) -> impl Iterator<Item = &'static str> + 't {
    let may_run = may_run(tables);
    let is_there = move |name: &&str| may_run && tables.path(name).is_some() && tables.is_wanted(name);
    BESIDE.into_iter().filter(is_there)
}

"""What users of other systems complain about; each complaint is a named test that shows it cannot happen here.

The complaint is named in the docstring of its test, with the place where it was reported. Not here, since what they are
about comes with a later version or is a question of speed:

- One time to live, or another one on every checkout path (woocommerce#27034, saleor#8313): hold policies per channel.
- Bots hold everything (coreshop/CoreShop#820, saleor#5769): limits of units and holds per holder.
- Exact stock shows the business to competitors (vendurehq/vendure#1628): display policy per channel.
- Reconciliation of 1.1 million orders never ends (magento/inventory#2522): a full audit is a benchmark.
- One caller alone is slow because the engine is built for batches (tigerbeetle#2469, tigerbeetle#3915): benchmark P6.
"""

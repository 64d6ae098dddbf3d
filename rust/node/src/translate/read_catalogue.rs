//! Reads of the catalogue.

use invengine_ledger::{CatalogueEntry, Ledger, Names};
use invengine_wire::v1;

use super::page::{ListKind, ListQuery, PageRequest};
use super::read::{ReadAnswer, ReadRequest, View, channel, checked, item, location};
use crate::refusal::Refusal;

impl ReadRequest for v1::GetItemRequest {
    fn read(&self, ledger: &Ledger, _: View<'_>) -> Result<ReadAnswer, Refusal> {
        checked(|found| found.name(&self.sku, format_args!("sku")))?;
        let entry = ledger.items().entry(item(ledger, &self.sku)?);
        Ok(ReadAnswer::at_once(&v1::GetItemResponse { item: Some(item_of(entry)) }))
    }
}

impl ReadRequest for v1::ListItemsRequest {
    fn read(&self, ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal> {
        let list_query = ListQuery::new(ListKind::Items);
        let page = checked(|found| PageRequest::new(list_query, self.page_size, &self.page_token, view, found))?;
        let (items, next_page_token) = page.fill(entries(ledger.items(), &page, item_of));
        let depends_on = page.depends_on(&next_page_token);
        Ok(ReadAnswer::dependent_on(depends_on, &v1::ListItemsResponse { items, next_page_token }))
    }
}

impl ReadRequest for v1::GetLocationRequest {
    fn read(&self, ledger: &Ledger, _: View<'_>) -> Result<ReadAnswer, Refusal> {
        checked(|found| found.name(&self.location, format_args!("location")))?;
        let entry = ledger.locations().entry(location(ledger, &self.location)?);
        Ok(ReadAnswer::at_once(&v1::GetLocationResponse { location: Some(location_of(entry)) }))
    }
}

impl ReadRequest for v1::ListLocationsRequest {
    fn read(&self, ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal> {
        let list_query = ListQuery::new(ListKind::Locations);
        let page = checked(|found| PageRequest::new(list_query, self.page_size, &self.page_token, view, found))?;
        let (locations, next_page_token) = page.fill(entries(ledger.locations(), &page, location_of));
        let depends_on = page.depends_on(&next_page_token);
        Ok(ReadAnswer::dependent_on(depends_on, &v1::ListLocationsResponse { locations, next_page_token }))
    }
}

impl ReadRequest for v1::GetChannelRequest {
    fn read(&self, ledger: &Ledger, _: View<'_>) -> Result<ReadAnswer, Refusal> {
        checked(|found| found.name(&self.channel, format_args!("channel")))?;
        let entry = ledger.channels().entry(channel(ledger, &self.channel)?);
        Ok(ReadAnswer::at_once(&v1::GetChannelResponse { channel: Some(channel_of(entry)) }))
    }
}

impl ReadRequest for v1::ListChannelsRequest {
    fn read(&self, ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal> {
        let list_query = ListQuery::new(ListKind::Channels);
        let page = checked(|found| PageRequest::new(list_query, self.page_size, &self.page_token, view, found))?;
        let (channels, next_page_token) = page.fill(entries(ledger.channels(), &page, channel_of));
        let depends_on = page.depends_on(&next_page_token);
        Ok(ReadAnswer::dependent_on(depends_on, &v1::ListChannelsResponse { channels, next_page_token }))
    }
}

/// Entries in the order of creation, which is that of their handles.
fn entries<'l, T>(
    names: &'l Names,
    page: &PageRequest,
    shape: fn(CatalogueEntry<'_>) -> T,
) -> impl Iterator<Item = (u64, T)> + 'l
where
    T: 'l,
{
    let first = u32::try_from(page.start).unwrap_or(u32::MAX);
    (first..names.len() as u32).map(move |handle| (u64::from(handle), shape(names.entry(handle))))
}

fn item_of(entry: CatalogueEntry<'_>) -> v1::Item {
    v1::Item { sku: entry.name.to_string(), display_name: entry.display_name.to_string(), gtin: entry.gs1.to_string() }
}

fn location_of(entry: CatalogueEntry<'_>) -> v1::Location {
    v1::Location {
        location: entry.name.to_string(),
        display_name: entry.display_name.to_string(),
        gln: entry.gs1.to_string(),
    }
}

fn channel_of(entry: CatalogueEntry<'_>) -> v1::Channel {
    v1::Channel { channel: entry.name.to_string(), display_name: entry.display_name.to_string() }
}

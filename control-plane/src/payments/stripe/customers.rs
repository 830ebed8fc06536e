//! Customers and their payment methods in Stripe.

use stripe_core::customer::{
    CreateCustomer, ListCustomer, ListPaymentMethodsCustomer, RetrieveCustomer, UpdateCustomer,
    UpdateCustomerInvoiceSettings,
};
use stripe_types::RangeQueryTs;

use super::answers::{List, StripeCustomer, StripePaymentMethod, metadata};
use super::{PAGE, Result, Stripe};
use crate::ids::CustomerId;

/// Stripe's clock may differ from ours by so many seconds.
const CLOCKS_DIFFER_SECONDS: i64 = 3_600;

/// A customer to make.
#[derive(Clone, Debug)]
pub struct NewStripeCustomer<'a> {
    /// Our id: in its metadata, and what it is looked for by.
    pub id: CustomerId,
    /// What people call it.
    pub name: &'a str,
    /// Where it gets mail.
    pub email: Option<&'a str>,
}

impl Stripe {
    /// Makes a customer.
    ///
    /// # Errors
    /// When Stripe did not do it, or nobody knows.
    pub async fn create_customer(
        &self,
        key: &str,
        new: &NewStripeCustomer<'_>,
    ) -> Result<StripeCustomer> {
        let id = new.id.to_string();
        if let Some(first) = self.doubt(key).await? {
            let since = first.timestamp().as_second() - CLOCKS_DIFFER_SECONDS;
            let page = |after: Option<&str>| {
                let created = RangeQueryTs::gte(since);
                let request = ListCustomer::new().created(created).limit(PAGE);
                match after {
                    Some(after) => request.starting_after(after),
                    None => request,
                }
            };
            let all = self
                .list(
                    "customers.list",
                    |customer: &StripeCustomer| &customer.id,
                    page,
                )
                .await?;
            let ours = all
                .into_iter()
                .find(|customer| customer.metadata.get(metadata::CUSTOMER) == Some(&id));
            match ours {
                Some(found) => return Ok(found),
                None => self.begin_anew(key).await?,
            }
        }
        let mut request = CreateCustomer::new()
            .name(new.name)
            .metadata([(metadata::CUSTOMER.to_owned(), id)]);
        if let Some(email) = new.email {
            request = request.email(email);
        }
        self.post("customers.create", key, &request).await
    }

    /// A customer as it is now; one that was deleted says so.
    ///
    /// # Errors
    /// When Stripe does not tell.
    pub async fn get_customer(&self, customer: &str) -> Result<StripeCustomer> {
        let request = RetrieveCustomer::new(customer);
        self.get("customers.get", &request).await
    }

    /// Has a customer's invoices collected from one of its payment methods.
    ///
    /// # Errors
    /// When Stripe did not do it, or nobody knows.
    pub async fn set_default_payment_method(
        &self,
        key: &str,
        customer: &str,
        payment_method: &str,
    ) -> Result<StripeCustomer> {
        if self.doubt(key).await?.is_some() {
            // Doing it twice is the same as doing it once.
            self.begin_anew(key).await?;
        }
        let mut settings = UpdateCustomerInvoiceSettings::new();
        settings.default_payment_method = Some(payment_method.to_owned());
        let request = UpdateCustomer::new(customer).invoice_settings(settings);
        self.post("customers.update", key, &request).await
    }

    /// A customer's payment methods, the newest first; 100 at most.
    ///
    /// # Errors
    /// When Stripe does not tell.
    pub async fn list_payment_methods(&self, customer: &str) -> Result<Vec<StripePaymentMethod>> {
        let request = ListPaymentMethodsCustomer::new(customer).limit(PAGE);
        let list: List<StripePaymentMethod> =
            self.get("customers.payment_methods", &request).await?;
        let mut methods = list.data;
        methods.sort_by_key(|method| std::cmp::Reverse(method.created));
        Ok(methods)
    }
}
